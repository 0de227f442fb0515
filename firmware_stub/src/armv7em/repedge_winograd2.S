/* The steps of F(2x2, 3x3); repedge_winograd.h says what each does. */
    .syntax unified
    .thumb
#include "repedge_winograd_multiply.inc"

    MULTIPLY repedge_winograd2_multiply, 16

/* ---- weights: U = G g G' with G = 2 0 0, 1 1 1, 1 -1 1, 0 0 2. r0 taps, r1 u. |U| <= 9 * 254. */

/* A column of taps in g0, g1, g2 becomes g0, t1, t2, g2 */
.macro WEIGHT_COLUMN g0, g1, g2, t1, t2
    sadd16  \t2, \g0, \g2
    sadd16  \t1, \t2, \g1
    ssub16  \t2, \t2, \g1
    sadd16  \g0, \g0, \g0
    sadd16  \g2, \g2, \g2
.endm

.macro WEIGHT_ROW i, g0, g1, g2
    sadd16  r0, \g0, \g2
    sadd16  \g0, \g0, \g0
    str     \g0, [r1, #64 * \i]
    sadd16  \g0, r0, \g1
    ssub16  r0, r0, \g1
    sadd16  \g2, \g2, \g2
    str     \g0, [r1, #64 * \i + 16]
    str     r0, [r1, #64 * \i + 32]
    str     \g2, [r1, #64 * \i + 48]
.endm

FUNCTION repedge_winograd2_weights
    push    {r4-r11, lr}
    sub     sp, #4
1:  ldmia   r0!, {r2, r3, r4}
    WEIGHT_COLUMN r2, r3, r4, r5, r6    /* r2 r5 r6 r4 */
    ldmia   r0!, {r7, r8, r9}
    WEIGHT_COLUMN r7, r8, r9, r3, r10   /* r7 r3 r10 r9 */
    ldmia   r0!, {r8, r11, r12}
    str     r0, [sp]
    WEIGHT_COLUMN r8, r11, r12, r0, lr  /* r8 r0 lr r12 */
    mov     r11, r0
    WEIGHT_ROW 0, r2, r7, r8
    WEIGHT_ROW 1, r5, r3, r11
    WEIGHT_ROW 2, r6, r10, lr
    WEIGHT_ROW 3, r4, r9, r12
    ldr     r0, [sp]
    adds    r1, #4
    tst     r1, #15                     /* U is aligned to 16 bytes: four output channels */
    bne     1b
    add     sp, #4
    pop     {r4-r11, pc}
END repedge_winograd2_weights

/* ---- input: V = B' d B with B' = 1 0 -1 0, 0 1 1 0, 0 -1 1 0, 0 1 0 -1. |V| <= 4 * 255.
 * r0 patch, r1 v, r2 shape. */

/* A pixel's two channels, zero point subtracted; rotation 0 or 8 picks which two */
.macro CHANNELS value, rotation
.if \rotation
    sxtab16 \value, r12, \value, ror #8
.else
    sxtab16 \value, r12, \value
.endif
.endm

/* B' times the column at r0, row stride in r3: in d0, t, d2, d3; d1 is free afterwards */
.macro INPUT_COLUMN d0, d1, d2, d3, t, rotation
    add     \t, r0, r3
    ldr     \d0, [r0]
    ldr     \d1, [r0, r3]
    ldr     \d2, [r0, r3, lsl #1]
    ldr     \d3, [\t, r3, lsl #1]
    CHANNELS \d0, \rotation
    CHANNELS \d1, \rotation
    CHANNELS \d2, \rotation
    CHANNELS \d3, \rotation
    ssub16  \d0, \d0, \d2
    sadd16  \t, \d1, \d2
    ssub16  \d2, \d2, \d1
    ssub16  \d3, \d1, \d3
.endm

/* Positions 1 and 2 of a row from columns 1 and 2; r9 is free */
.macro INPUT_MIDDLE row, first, second
    sadd16  r9, \first, \second
    str     r9, [r1, #32 * \row + 8]
    ssub16  r9, \second, \first
    str     r9, [r1, #32 * \row + 16]
.endm

/* All 16 positions of one pair; r2 pixel stride */
.macro INPUT_PAIR rotation
    add     r0, r2
    INPUT_COLUMN r4, r5, r6, r7, lr, \rotation /* column 1 in r4, lr, r6, r7 */
    add     r0, r2
    INPUT_COLUMN r8, r9, r10, r11, r5, \rotation /* column 2 in r8, r5, r10, r11 */
    INPUT_MIDDLE 0, r4, r8
    INPUT_MIDDLE 1, lr, r5
    INPUT_MIDDLE 2, r6, r10
    INPUT_MIDDLE 3, r7, r11
    /* column 3, taken from column 1 as it comes: too few registers to hold both */
    add     r0, r2
    add     r2, r0, r3
    ldr     r9, [r0, r3, lsl #1]
    ldr     r0, [r0]
    CHANNELS r9, \rotation
    CHANNELS r0, \rotation
    ssub16  r0, r0, r9
    ssub16  r4, r4, r0
    str     r4, [r1, #24]
    ldr     r0, [r2]
    ldr     r2, [r2, r3, lsl #1]
    CHANNELS r0, \rotation
    CHANNELS r2, \rotation
    sadd16  r4, r0, r9
    ssub16  lr, lr, r4
    str     lr, [r1, #56]
    ssub16  r4, r9, r0
    ssub16  r6, r6, r4
    str     r6, [r1, #88]
    ssub16  r4, r0, r2
    ssub16  r7, r7, r4
    str     r7, [r1, #120]
    /* column 0, less column 2 */
    ldr     r0, [sp, #4]
    INPUT_COLUMN r4, r6, r7, r9, lr, \rotation /* in r4, lr, r7, r9 */
    ssub16  r4, r4, r8
    ssub16  lr, lr, r5
    ssub16  r7, r7, r10
    ssub16  r9, r9, r11
    str     r4, [r1]
    str     lr, [r1, #32]
    str     r7, [r1, #64]
    str     r9, [r1, #96]
    ldr     r2, [sp]
    add     r1, #128
.endm

FUNCTION repedge_winograd2_input
    push    {r4-r11, lr}
    sub     sp, #12
    ldmia   r2, {r3-r6}                 /* pixel stride, row stride, quads, zero point */
    rsb     r6, r6, #0
    pkhbt   r12, r6, r6, lsl #16
    mov     r2, r3
    mov     r3, r4
    /* stack: 0 pixel stride, 4 patch, 8 quads left */
    strd    r2, r0, [sp]
    str     r5, [sp, #8]
1:  INPUT_PAIR 0
    INPUT_PAIR 8
    ldrd    r0, r4, [sp, #4]
    adds    r0, #4
    subs    r4, #1
    strd    r0, r4, [sp, #4]
    bne     1b
    add     sp, #12
    pop     {r4-r11, pc}
END repedge_winograd2_input

/* ---- output: Y = A' M A with A' = 1 1 1 0, 0 1 -1 -1: four times the doubled convolution.
 * r0 m, r1 channels, r2 output, r3 shape. */

/* One column of M; the results are in first and second */
.macro OUTPUT_COLUMN number, first, second
    ldr     \first, [r0, #32 * \number]
    ldr     lr, [r0, #32 * \number + 128]
    ldr     r12, [r0, #32 * \number + 256]
    ldr     \second, [r0, #32 * \number + 384]
    add     \first, lr
    add     \first, r12
    sub     \second, lr, \second
    sub     \second, r12
.endm

/* One output: value = 4 times twice the sum; r0 bias, r1 multiplier, r2 offset, r3 shift */
.macro REQUANTIZE value, t
    add     \value, r0, \value, asr #2
    add     \t, r2, \value, asr #31
    smmlar  \value, \value, r1, \t
    asr     \value, r3
    ssat    \value, #8, \value
.endm

FUNCTION repedge_winograd2_output
    push    {r0-r11, lr}
    sub     sp, #8
    ldrd    r4, r5, [r3]                /* pixel and row stride */
    movs    r6, #4
    /* stack: 0 row stride, 4 output channels left, 8 m, 12 channels, 16 output, 20 pixel stride */
    strd    r5, r6, [sp]
    str     r4, [sp, #20]
1:  OUTPUT_COLUMN 0, r4, r8
    OUTPUT_COLUMN 1, r5, r9
    OUTPUT_COLUMN 2, r6, r10
    OUTPUT_COLUMN 3, r7, r11
    add     r4, r5
    add     r4, r6
    sub     r5, r6
    sub     r5, r7
    add     r8, r9
    add     r8, r10
    sub     r9, r10
    sub     r9, r11
    ldr     r6, [sp, #12]
    ldrd    r12, lr, [sp, #16]
    ldmia   r6!, {r0-r3}
    str     r6, [sp, #12]
    REQUANTIZE r4, r6
    REQUANTIZE r5, r6
    REQUANTIZE r8, r6
    REQUANTIZE r9, r6
    ldr     r6, [sp]
    strb    r4, [r12]
    strb    r5, [r12, lr]
    strb    r8, [r12, r6]
    add     r6, lr
    strb    r9, [r12, r6]
    ldrd    r4, r0, [sp, #4]
    adds    r0, #8
    add     r12, #1
    subs    r4, #1
    strd    r4, r0, [sp, #4]
    str     r12, [sp, #16]
    bne     1b
    add     sp, #24
    pop     {r4-r11, pc}
END repedge_winograd2_output
