/* The steps of F(4x4, 3x3); repedge_winograd.h says what each does. */
    .syntax unified
    .thumb
#include "repedge_winograd_multiply.inc"

    MULTIPLY repedge_winograd4_multiply, 36

/* ---- weights: U = G g G' with G = 1 0 0, 1 1 1, 1 -1 1, 1 2 4, 1 -2 4, 0 0 1.
 * r0 taps, r1 u; two weights per word, so sums are SADD16 and SSUB16. |U| <= 49 * 254. */

/* One column of taps: r2, r3 .. r7 = G times it */
.macro WEIGHT_COLUMN
    ldmia   r0!, {r2, r6, r7}
    sadd16  r4, r2, r7
    sadd16  r3, r4, r6                  /* g0 + g1 + g2 */
    ssub16  r4, r4, r6                  /* g0 - g1 + g2 */
    sadd16  r5, r7, r7
    sadd16  r5, r5, r5
    sadd16  r5, r2, r5                  /* g0 + 4 g2 */
    sadd16  r8, r6, r6                  /* 2 g1 */
    ssub16  r6, r5, r8
    sadd16  r5, r5, r8
.endm

/* Six positions from row i: columns 0 and 1 on the stack, column 2 in register g2 */
.macro WEIGHT_ROW i, g2
    ldr     r8, [sp, #4 * \i]
    ldr     r9, [sp, #24 + 4 * \i]
    sadd16  r10, r8, \g2
    sadd16  r11, r10, r9
    ssub16  r10, r10, r9
    sadd16  r12, \g2, \g2
    sadd16  r12, r12, r12
    sadd16  r12, r8, r12
    sadd16  r9, r9, r9
    sadd16  lr, r12, r9
    ssub16  r12, r12, r9
    str     r8, [r1, #96 * \i]
    str     r11, [r1, #96 * \i + 16]
    str     r10, [r1, #96 * \i + 32]
    str     lr, [r1, #96 * \i + 48]
    str     r12, [r1, #96 * \i + 64]
    str     \g2, [r1, #96 * \i + 80]
.endm

FUNCTION repedge_winograd4_weights
    push    {r4-r11, lr}
    sub     sp, #48
1:  WEIGHT_COLUMN
    stmia   sp, {r2-r7}
    WEIGHT_COLUMN
    add     r8, sp, #24
    stmia   r8, {r2-r7}
    WEIGHT_COLUMN
    WEIGHT_ROW 0, r2
    WEIGHT_ROW 1, r3
    WEIGHT_ROW 2, r4
    WEIGHT_ROW 3, r5
    WEIGHT_ROW 4, r6
    WEIGHT_ROW 5, r7
    adds    r1, #4
    tst     r1, #15                     /* U is aligned to 16 bytes: four output channels */
    bne     1b
    add     sp, #48
    pop     {r4-r11, pc}
END repedge_winograd4_weights

/* ---- input: V = B' d B with B' = 4 0 -5 0 1 0, 0 -4 -4 1 1 0, 0 4 -4 -1 1 0, 0 -2 -1 2 1 0,
 * 0 2 -1 -2 1 0, 0 4 0 -5 0 1.
 *
 * Two channels in one 32-bit number, high * 2^16 + low, so that plain additions with their free
 * shifts work on both: exact, since everything is linear modulo 2^32. Such a number is two int16 side
 * by side only where low is not negative. Therefore pixels enter as 0 .. 255 (+ 128), and 2^15 is
 * added to four of the 36 low halves, rows and columns 4 and 5, which adds 2^15 to low at all 36
 * positions; |low| < 2^15, and an exclusive or takes it away again. Pixels raised by 128 + zero point
 * change position (1, 1) alone, by 36 times as much: subtracted there.
 *
 * r0 patch, r1 v, r2 shape. */

/* d0 .. d5 = B' times it; a, b are free registers */
.macro INPUT_TRANSFORM d0, d1, d2, d3, d4, d5, a, b
    sub     \d0, \d0, \d2
    sub     \d5, \d5, \d3
    sub     \a, \d4, \d2
    sub     \b, \d3, \d1
    sub     \d4, \d4, \d2, lsl #2
    sub     \d3, \d3, \d1, lsl #2
    add     \d0, \a, \d0, lsl #2
    add     \d1, \d4, \d3
    sub     \d2, \d4, \d3
    add     \d3, \a, \b, lsl #1
    sub     \d4, \a, \b, lsl #1
    sub     \d5, \d5, \b, lsl #2
.endm

.equ INPUT_EVEN, 32                     /* on the stack: B' d of channels 0 and 2, 6 x 6 words */
.equ INPUT_ODD, 32 + 144                /* of channels 1 and 3 */

/* Store a column of six words into rows of six */
.macro STORE_COLUMN at, d0, d1, d2, d3, d4, d5
    str     \d0, [sp, #\at]
    str     \d1, [sp, #\at + 24]
    str     \d2, [sp, #\at + 48]
    str     \d3, [sp, #\at + 72]
    str     \d4, [sp, #\at + 96]
    str     \d5, [sp, #\at + 120]
.endm

/* One column of pixels, four channels. Stack: 0 address of its first pixel, 4 row and 8 pixel
 * stride. */
.macro INPUT_COLUMN number
    ldmia   sp, {r8, r12, lr}
    ldr     r0, [r8]
    add     r6, r8, r12, lsl #1
    add     r7, r8, r12
    ldr     r1, [r8, r12]
    ldr     r2, [r8, r12, lsl #1]
    ldr     r3, [r6, r12]
    ldr     r4, [r8, r12, lsl #2]
    ldr     r5, [r7, r12, lsl #2]
    add     r8, lr
    str     r8, [sp]
    mov     r12, #0x00800080
    sxtab16 r6, r12, r0
    sxtab16 r7, r12, r1
    sxtab16 r8, r12, r2
    sxtab16 r9, r12, r3
    sxtab16 r0, r12, r0, ror #8
    sxtab16 r1, r12, r1, ror #8
    sxtab16 r2, r12, r2, ror #8
    sxtab16 r3, r12, r3, ror #8
.if \number >= 4
    orr     r12, r12, #0x8000
.endif
    sxtab16 r10, r12, r4
    sxtab16 r11, r12, r5
    sxtab16 r4, r12, r4, ror #8
    sxtab16 r5, r12, r5, ror #8
    INPUT_TRANSFORM r6, r7, r8, r9, r10, r11, r12, lr
    STORE_COLUMN INPUT_EVEN + 4 * \number, r6, r7, r8, r9, r10, r11
    INPUT_TRANSFORM r0, r1, r2, r3, r4, r5, r12, lr
    STORE_COLUMN INPUT_ODD + 4 * \number, r0, r1, r2, r3, r4, r5
.endm

/* Six positions of one row */
.macro INPUT_ROW i
    ldmia   r0!, {r4-r9}
    INPUT_TRANSFORM r4, r5, r6, r7, r8, r9, r10, r11
    eor     r4, r4, #0x8000
    eor     r5, r5, #0x8000
    eor     r6, r6, #0x8000
    eor     r7, r7, #0x8000
    eor     r8, r8, #0x8000
    eor     r9, r9, #0x8000
.if \i == 1
    ssub16  r5, r5, r2
.endif
    str     r4, [r1, #48 * \i]
    str     r5, [r1, #48 * \i + 8]
    str     r6, [r1, #48 * \i + 16]
    str     r7, [r1, #48 * \i + 24]
    str     r8, [r1, #48 * \i + 32]
    str     r9, [r1, #48 * \i + 40]
.endm

FUNCTION repedge_winograd4_input
    push    {r4-r11, lr}
    sub     sp, #INPUT_ODD + 144
    ldmia   r2, {r3-r6}                 /* pixel stride, row stride, quads, zero point */
    add     r6, #128
    add     r6, r6, r6, lsl #3
    lsl     r6, #2
    orr     r6, r6, r6, lsl #16         /* 36 * (zero point + 128), twice */
    /* stack: 0 address of the column, 4 row stride, 8 pixel stride, 12 v, 16 what to subtract at
     * (1, 1), 20 patch, 24 quads left */
    strd    r0, r4, [sp]
    strd    r3, r1, [sp, #8]
    strd    r6, r0, [sp, #16]
    str     r5, [sp, #24]
1:  INPUT_COLUMN 0
    INPUT_COLUMN 1
    INPUT_COLUMN 2
    INPUT_COLUMN 3
    INPUT_COLUMN 4
    INPUT_COLUMN 5
    ldrd    r1, r2, [sp, #12]
    add     r0, sp, #INPUT_EVEN
    movs    r3, #2
2:  INPUT_ROW 0
    INPUT_ROW 1
    INPUT_ROW 2
    INPUT_ROW 3
    INPUT_ROW 4
    INPUT_ROW 5
    add     r1, #288                    /* next pair */
    subs    r3, #1
    bne     2b
    ldrd    r4, r5, [sp, #20]
    adds    r4, #4
    str     r4, [sp]
    str     r1, [sp, #12]
    subs    r5, #1
    strd    r4, r5, [sp, #20]
    bne     1b
    add     sp, #INPUT_ODD + 144
    pop     {r4-r11, pc}
END repedge_winograd4_input

/* ---- output: Y = A' M A with A' = 6 -4 -4 1 1 0, 0 -4 4 2 -2 0, 0 -4 -4 4 4 0, 0 -4 4 8 -8 24, whose
 * rows are kept divided by 1, 2, 4 and 4: they stand for 24, 12, 6 and 6 times the doubled
 * convolution.
 * r0 m, r1 channels, r2 output, r3 shape. */

/* From r4-r9 to r4, r5, r8, r6; r10 is free */
.macro OUTPUT_TRANSFORM
    add     r10, r5, r6
    sub     r6, r6, r5
    add     r5, r7, r8
    sub     r7, r7, r8
    add     r4, r4, r4, lsl #1
    sub     r8, r5, r10, lsl #2
    add     r4, r8, r4, lsl #1
    sub     r8, r5, r10
    add     r5, r7, r6, lsl #1
    add     r9, r9, r9, lsl #1
    add     r6, r6, r7, lsl #1
    add     r6, r6, r9, lsl #1
.endm

/* One output: value = 9 * 2^exponent times twice the sum, modulo 2^32; r11 undoes the 9. r0 bias, r1
 * multiplier, r2 offset, r3 shift, as in winograd_channel_t */
.macro REQUANTIZE value, exponent
    mul     \value, \value, r11
    add     \value, r0, \value, asr #\exponent
    add     r10, r2, \value, asr #31
    smmlar  \value, \value, r1, r10
    asr     \value, r3
    ssat    \value, #8, \value
.endm

/* A row of four outputs at r12, lr bytes apart; exponent is that of the row */
.macro OUTPUT_ROW exponent
    pop     {r4-r9}
    OUTPUT_TRANSFORM
    REQUANTIZE r4, \exponent + 3
    REQUANTIZE r5, \exponent + 2
    REQUANTIZE r8, \exponent + 1
    REQUANTIZE r6, \exponent + 1
    strb    r4, [r12]
    add     r10, r12, lr, lsl #1
    strb    r5, [r12, lr]
    strb    r8, [r12, lr, lsl #1]
    strb    r6, [r10, lr]
.endm

FUNCTION repedge_winograd4_output
    push    {r0-r11, lr}
    sub     sp, #8
    ldrd    r4, r5, [r3]                /* pixel and row stride */
    movs    r6, #4
    /* stack: 0 row stride, 4 output channels left, 8 m, 12 channels, 16 output, 20 pixel stride */
    strd    r5, r6, [sp]
    str     r4, [sp, #20]
    mov     r3, r0
1:  sub     sp, #96
    .irp    column, 0, 1, 2, 3, 4, 5
    ldr     r4, [r3, #32 * \column]
    ldr     r5, [r3, #32 * \column + 192]
    ldr     r6, [r3, #32 * \column + 384]
    ldr     r7, [r3, #32 * \column + 576]
    ldr     r8, [r3, #32 * \column + 768]
    ldr     r9, [r3, #32 * \column + 960]
    OUTPUT_TRANSFORM
    str     r4, [sp, #4 * \column]
    str     r5, [sp, #4 * \column + 24]
    str     r8, [sp, #4 * \column + 48]
    str     r6, [sp, #4 * \column + 72]
    .endr
    ldr     r4, [sp, #96 + 12]
    ldrd    r12, lr, [sp, #96 + 16]
    ldmia   r4!, {r0-r3}
    str     r4, [sp, #96 + 12]
    ldr     r11, =0x38e38e39            /* 9 * it = 1 modulo 2^32 */
    OUTPUT_ROW 3
    ldr     r10, [sp, #72]
    add     r12, r10
    OUTPUT_ROW 2
    ldr     r10, [sp, #48]
    add     r12, r10
    OUTPUT_ROW 1
    ldr     r10, [sp, #24]
    add     r12, r10
    OUTPUT_ROW 1
    ldrd    r4, r3, [sp, #4]
    ldr     r12, [sp, #16]
    adds    r3, #8
    add     r12, #1
    subs    r4, #1
    strd    r4, r3, [sp, #4]
    str     r12, [sp, #16]
    bne     1b
    add     sp, #24
    pop     {r4-r11, pc}
    .ltorg
END repedge_winograd4_output
