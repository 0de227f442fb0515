/* For the assembler: M = sum of U * V over pairs of input channels, four output channels x two tiles.
 *
 * void name(const uint32_t *u, const uint32_t *v, int32_t *m, uint32_t pairs); pairs is even, >= 2.
 * A pair of channels costs 11 instructions for 16 products. Registers: r0 U, r1 V, r4-r11 sums. */

/* One pair: V of two tiles in r2, r3; U of four output channels, two at a time, in r12, lr. */
.macro PRODUCTS positions, first=0
    ldrd    r2, r3, [r1], #8 * \positions
    ldrd    r12, lr, [r0], #8
.if \first
    smuad   r4, r12, r2
    smuad   r5, r12, r3
    smuad   r6, lr, r2
    smuad   r7, lr, r3
    ldrd    r12, lr, [r0], #16 * \positions - 8
    smuad   r8, r12, r2
    smuad   r9, r12, r3
    smuad   r10, lr, r2
    smuad   r11, lr, r3
.else
    smlad   r4, r12, r2, r4
    smlad   r5, r12, r3, r5
    smlad   r6, lr, r2, r6
    smlad   r7, lr, r3, r7
    ldrd    r12, lr, [r0], #16 * \positions - 8
    smlad   r8, r12, r2, r8
    smlad   r9, r12, r3, r9
    smlad   r10, lr, r2, r10
    smlad   r11, lr, r3, r11
.endif
.endm

/* Bytes of code of one PRODUCTS: eleven instructions of four bytes. */
.equ PRODUCTS_BYTES, 44

.macro MULTIPLY name, positions
    .section .text.\name, "ax", %progbits
    .balign 4
    .global \name
    .type   \name, %function
    .thumb_func
\name:
    push    {r4-r11, lr}
    sub     sp, #20
    /* stack: 0 end of this position's U, 4 M, 8 bytes back to the next position's U, 12 end of M,
     * 16 where to enter the loop */
    mov     r4, #16 * \positions
    mul     r5, r3, r4                  /* bytes of U */
    add     r6, r0, r5
    sub     r7, r5, #16
    add     r8, r2, #32 * \positions
    strd    r6, r2, [sp]
    strd    r7, r8, [sp, #8]
    /* the first two pairs stand before the loop; of the others, pairs modulo 8 in its first turn */
    subs    r3, #2
    ands    r9, r3, #7
    rsb     r9, r9, #8
    and     r9, r9, #7
    mov     r4, #PRODUCTS_BYTES
    ldr     r10, =3f + 1
    mul     r9, r9, r4
    add     r10, r10, r9
    cmp     r3, #0
    it      eq
    ldreq   r10, =4f + 1
    str     r10, [sp, #16]
2:  /* next position */
    PRODUCTS \positions, 1
    PRODUCTS \positions
    ldr     pc, [sp, #16]
    .balign 4
3:  .rept 8
    PRODUCTS \positions
    .endr
    ldr     r2, [sp]
    cmp     r0, r2
    bne     3b
4:  ldrd    r2, r12, [sp]
    ldrd    r3, lr, [sp, #8]
    stmia   r12!, {r4-r11}
    adds    r2, #16
    strd    r2, r12, [sp]
    sub     r0, r0, r3
    sub     r1, r1, r3, lsr #1
    cmp     r12, lr
    bne     2b
    add     sp, #20
    pop     {r4-r11, pc}
    .ltorg
    .size   \name, . - \name
.endm

/* A function of its own section. */
.macro FUNCTION name
    .section .text.\name, "ax", %progbits
    .balign 4
    .global \name
    .type   \name, %function
    .thumb_func
\name:
.endm

/* Its end. */
.macro END name
    .size   \name, . - \name
.endm
