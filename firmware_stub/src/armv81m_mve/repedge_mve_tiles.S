/* The loops over tiles of the MVE kernels: 2 output channels x 4 pixels, see repedge_mve.h.
 *
 * VMLADAVA adds a dot product of sixteen int8 into an even register, so eight sums fill all of them:
 * channel 0 of the pixels in r0 r2 r4 r6, channel 1 in r8 r10 r12 lr. The four pixels' columns are
 * loaded once per kernel row and shared by its three taps: 6 + 6 loads (stride 2: 9 + 6) per 24
 * VMLADAVA, that is per 384 multiply-accumulates. Loads and VMLADAVA alternate where they can, so
 * that a core that overlaps them does. No low-overhead loop: it would need lr.
 *
 * q7 holds the offsets of a tile's outputs: pixel 0 channel 0, pixel 0 channel 1, pixel 1 ...
 */
    .syntax unified
    .thumb
    .arch armv8.1-m.main
    .arch_extension mve

/* Offsets into the frame, a copy of repedge_mve_run_t that starts with what a tile reloads. */
    .equ FRAME_WEIGHTS, 20
    .equ FRAME_OUTPUT, 24   /* and pairs */
    .equ FRAME_TILES, 32    /* and output_step */
    .equ FRAME_CLAMPS, 40
    .equ FRAME_MASK, 48
    .equ FRAME_PAIR, 52     /* output and pairs left inside of a tile */
    .equ FRAME_BYTES, 64

/* Three taps of one kernel row and one group of sixteen channels, stride 1: columns 0 to 5.
 * Weights are tap by tap, two channels each. `first` is the instruction of the first tap. */
.macro SEGMENT_STRIDE1 row, first
    vldrw.u32 q4, [r1], #96
    vldrw.u32 q0, [\row]
    \first r0, q0, q4
    vldrw.u32 q1, [\row, #16]
    \first r2, q1, q4
    vldrw.u32 q2, [\row, #32]
    \first r4, q2, q4
    vldrw.u32 q3, [\row, #48]
    \first r6, q3, q4
    vldrw.u32 q5, [r1, #-80]
    \first r8, q0, q5
    vldrw.u32 q0, [\row, #64]   /* column 4 */
    \first r10, q1, q5
    vldrw.u32 q6, [r1, #-64]
    \first r12, q2, q5
    vldrw.u32 q4, [r1, #-48]
    \first lr, q3, q5
    vmladava.s8 r0, q1, q6      /* middle tap */
    vmladava.s8 r8, q1, q4
    vldrw.u32 q1, [\row, #80]   /* column 5 */
    vmladava.s8 r2, q2, q6
    vldrw.u32 q5, [r1, #-32]
    vmladava.s8 r4, q3, q6
    vmladava.s8 r6, q0, q6
    vldrw.u32 q6, [r1, #-16]
    vmladava.s8 r10, q2, q4
    vmladava.s8 r12, q3, q4
    vmladava.s8 lr, q0, q4
    vmladava.s8 r0, q2, q5      /* right tap */
    vmladava.s8 r2, q3, q5
    vmladava.s8 r4, q0, q5
    vmladava.s8 r6, q1, q5
    vmladava.s8 r8, q2, q6
    vmladava.s8 r10, q3, q6
    vmladava.s8 r12, q0, q6
    vmladava.s8 lr, q1, q6
.endm

/* The same for stride 2: columns 0 to 8, the even ones for the outer taps. */
.macro SEGMENT_STRIDE2 row, first
    vldrw.u32 q4, [r1], #96
    vldrw.u32 q0, [\row]
    \first r0, q0, q4
    vldrw.u32 q1, [\row, #32]
    \first r2, q1, q4
    vldrw.u32 q2, [\row, #64]
    \first r4, q2, q4
    vldrw.u32 q3, [\row, #96]
    \first r6, q3, q4
    vldrw.u32 q5, [r1, #-80]
    \first r8, q0, q5
    vldrw.u32 q0, [\row, #128]  /* column 8 */
    \first r10, q1, q5
    vldrw.u32 q6, [r1, #-32]
    \first r12, q2, q5
    vldrw.u32 q4, [r1, #-16]
    \first lr, q3, q5
    vmladava.s8 r0, q1, q6      /* right tap */
    vmladava.s8 r8, q1, q4
    vldrw.u32 q1, [\row, #16]   /* column 1 */
    vmladava.s8 r2, q2, q6
    vmladava.s8 r10, q2, q4
    vldrw.u32 q2, [\row, #48]   /* column 3 */
    vmladava.s8 r4, q3, q6
    vmladava.s8 r12, q3, q4
    vldrw.u32 q3, [\row, #80]   /* column 5 */
    vmladava.s8 r6, q0, q6
    vldrw.u32 q5, [r1, #-64]
    vmladava.s8 lr, q0, q4
    vldrw.u32 q0, [\row, #112]  /* column 7 */
    vmladava.s8 r0, q1, q5      /* middle tap */
    vldrw.u32 q6, [r1, #-48]
    vmladava.s8 r2, q2, q5
    vmladava.s8 r4, q3, q5
    vmladava.s8 r6, q0, q5
    vmladava.s8 r8, q1, q6
    vmladava.s8 r10, q2, q6
    vmladava.s8 r12, q3, q6
    vmladava.s8 lr, q0, q6
.endm

/* The sums as vectors: q0 channel 0, q1 channel 1, a pixel per lane. Then the block's words:
 * r0 output zero point, r2 r4 r6 bias, multiplier and right shift of channel 0, r8 r10 r12 of
 * channel 1, lr left shifts and rounding. */
.macro TAKE_SUMS
    vmov q0[2], q0[0], r0, r4
    vmov q0[3], q0[1], r2, r6
    vmov q1[2], q1[0], r8, r12
    vmov q1[3], q1[1], r10, lr
.endm

/* Requantize in the plain case: q0 holds the outputs in 16-bit lanes, channels alternating. The
 * saturation to int16 and int8 is the clamping. */
.macro REQUANTIZE_PLAIN
    vadd.i32 q0, q0, r2
    vadd.i32 q1, q1, r8
    vqrdmulh.s32 q0, q0, r4
    vqrdmulh.s32 q1, q1, r10
    vrshl.s32 q0, r6
    vrshl.s32 q1, r12
    vqmovnb.s32 q0, q0
    vqmovnt.s32 q0, q1
    vqadd.s16 q0, q0, r0
    vqmovnb.s16 q0, q0
.endm

/* \value: shift left, multiply, and shift right with halves away from zero: VRSHL rounds them up,
 * so a negative value that is shifted loses 1 first. */
.macro REQUANTIZE_CHANNEL value, lane, multiplier, right
    ubfx r2, lr, #8 * \lane, #8
    vshl.s32 \value, r2
    vqrdmulh.s32 \value, \value, \multiplier
    vshr.s32 q2, \value, #31
    ubfx r2, lr, #16 + 8 * \lane, #8
    vmla.s32 \value, q2, r2
    vrshl.s32 \value, \right
.endm

/* Requantize in any case, and the mask into the predicate. */
.macro REQUANTIZE_CHECKED
    vadd.i32 q0, q0, r2
    vadd.i32 q1, q1, r8
    REQUANTIZE_CHANNEL q0, 0, r4, r6
    REQUANTIZE_CHANNEL q1, 1, r10, r12
    vqmovnb.s32 q0, q0
    vqmovnt.s32 q0, q1
    vqadd.s16 q0, q0, r0
    ldrd r0, r2, [sp, #FRAME_CLAMPS]
    vdup.16 q1, r0
    vmax.s16 q0, q0, q1
    vdup.16 q1, r2
    vmin.s16 q0, q0, q1
    ldr r0, [sp, #FRAME_MASK]
    vmsr p0, r0
.endm

.macro STORE_PLAIN base
    vstrb.16 q0, [\base, q7]
.endm

.macro STORE_CHECKED base
    vpst
    vstrbt.16 q0, [\base, q7]
.endm

.macro ENTER
    push {r4-r11, lr}
    vpush {d8-d15}
    sub sp, sp, #FRAME_BYTES + 4
    ldmia r0!, {r1-r12}
    ldr lr, [r0]
    vldrh.u16 q7, [r0, #8]
    stm sp, {r1-r12}
    str lr, [sp, #FRAME_MASK]
.endm

.macro LEAVE
    add sp, sp, #FRAME_BYTES + 4
    vpop {d8-d15}
    pop {r4-r11, pc}
.endm

/* Move the frame on to the next tile; to label 1 while there is one. */
.macro NEXT_TILE stride
    ldm sp, {r0, r2, r4}
    add r0, r0, #64 * \stride
    add r2, r2, #64 * \stride
    add r4, r4, #64 * \stride
    stm sp, {r0, r2, r4}
    ldrd r0, r2, [sp, #FRAME_TILES]
    ldr r4, [sp, #FRAME_OUTPUT]
    subs r0, r0, #1
    add r4, r4, r2
    str r0, [sp, #FRAME_TILES]
    str r4, [sp, #FRAME_OUTPUT]
    bne 1b
.endm

.macro FUNCTION name
    .section .text.\name, "ax", %progbits
    .balign 8
    .global \name
    .thumb_func
    .type \name, %function
\name:
.endm

/* Sixteen input channels: rows stay in r3 r5 r7, output in r9, pairs left in r11. */
.macro TILES_16 name, segment, stride
    FUNCTION \name
    ENTER
1:
    ldm sp, {r3, r5, r7}
    ldr r1, [sp, #FRAME_WEIGHTS]
    ldrd r9, r11, [sp, #FRAME_OUTPUT]
2:
    \segment r3, vmladav.s8
    \segment r5, vmladava.s8
    \segment r7, vmladava.s8
    TAKE_SUMS
    ldmia r1!, {r0, r2, r4, r6, r8, r10, r12, lr}
    REQUANTIZE_PLAIN
    STORE_PLAIN r9
    add r9, r9, #2
    subs r11, r11, #1
    bne 2b
    NEXT_TILE \stride
    LEAVE
    .size \name, . - \name
.endm

/* Any number of groups: rows in r3 r5 r7, groups left in r9, bytes between them in r11. */
.macro TILES name, segment, stride, requantize, store
    FUNCTION \name
    ENTER
1:
    ldr r1, [sp, #FRAME_WEIGHTS]
    ldrd r0, r2, [sp, #FRAME_OUTPUT]
    strd r0, r2, [sp, #FRAME_PAIR]
2:
    ldm sp, {r3, r5, r7, r9, r11}
    clrm {r0, r2, r4, r6, r8, r10, r12, lr}
3:
    \segment r3, vmladava.s8
    \segment r5, vmladava.s8
    \segment r7, vmladava.s8
    add r3, r3, r11
    add r5, r5, r11
    add r7, r7, r11
    subs r9, r9, #1
    bne 3b
    TAKE_SUMS
    ldmia r1!, {r0, r2, r4, r6, r8, r10, r12, lr}
    \requantize
    ldrd r3, r5, [sp, #FRAME_PAIR]
    \store r3
    adds r3, r3, #2
    subs r5, r5, #1
    strd r3, r5, [sp, #FRAME_PAIR]
    bne 2b
    NEXT_TILE \stride
    LEAVE
    .size \name, . - \name
.endm

    TILES_16 repedge_mve_stride1_plain_16, SEGMENT_STRIDE1, 1
    TILES_16 repedge_mve_stride2_plain_16, SEGMENT_STRIDE2, 2
    TILES repedge_mve_stride1_plain, SEGMENT_STRIDE1, 1, REQUANTIZE_PLAIN, STORE_PLAIN
    TILES repedge_mve_stride2_plain, SEGMENT_STRIDE2, 2, REQUANTIZE_PLAIN, STORE_PLAIN
    TILES repedge_mve_stride1_checked, SEGMENT_STRIDE1, 1, REQUANTIZE_CHECKED, STORE_CHECKED
    TILES repedge_mve_stride2_checked, SEGMENT_STRIDE2, 2, REQUANTIZE_CHECKED, STORE_CHECKED

/* Windows of 9 values: one vector per pixel; the weights stay in q3 and q4. */
.macro WINDOW_1 step
    vldrb.u8 q0, [r3]
    vmladav.s8 r0, q0, q3
    vldrb.u8 q1, [r3, #\step]
    vmladav.s8 r8, q0, q4
    vldrb.u8 q2, [r3, #2 * \step]
    vmladav.s8 r2, q1, q3
    vmladav.s8 r10, q1, q4
    vldrb.u8 q0, [r3, #3 * \step]
    vmladav.s8 r4, q2, q3
    vmladav.s8 r12, q2, q4
    vmladav.s8 r6, q0, q3
    vmladav.s8 lr, q0, q4
.endm

/* Windows of 27 values: two vectors per pixel; the weights stay in q3 to q6. */
.macro WINDOW_PIXEL_3 offset, sum0, sum1
    vldrb.u8 q0, [r3, #\offset]
    vmladav.s8 \sum0, q0, q3
    vldrb.u8 q1, [r3, #\offset + 16]
    vmladav.s8 \sum1, q0, q4
    vmladava.s8 \sum0, q1, q5
    vmladava.s8 \sum1, q1, q6
.endm

.macro WINDOW_3 step
    WINDOW_PIXEL_3 0, r0, r8
    WINDOW_PIXEL_3 \step, r2, r10
    WINDOW_PIXEL_3 2 * \step, r4, r12
    WINDOW_PIXEL_3 3 * \step, r6, lr
.endm

.macro LOAD_WEIGHTS_1
    vldrw.u32 q3, [r1], #32
    vldrw.u32 q4, [r1, #-16]
.endm

.macro LOAD_WEIGHTS_3
    vldrw.u32 q3, [r1], #64
    vldrw.u32 q4, [r1, #-48]
    vldrw.u32 q5, [r1, #-32]
    vldrw.u32 q6, [r1, #-16]
.endm

/* The first layer: pair by pair along the row. r3 window, r9 output, r11 tiles left, r5 output step,
 * r1 the pair's weights, then its block. `step`: bytes between the windows of two pixels. */
.macro TILES_WINDOW name, load_weights, window, step, requantize, store
    FUNCTION \name
    ENTER
    ldr r1, [sp, #FRAME_WEIGHTS]
1:
    \load_weights
    ldr r3, [sp]
    ldr r9, [sp, #FRAME_OUTPUT]
    ldr r11, [sp, #FRAME_TILES]
    ldr r5, [sp, #FRAME_TILES + 4]
2:
    \window \step
    TAKE_SUMS
    ldm r1, {r0, r2, r4, r6, r8, r10, r12, lr}
    \requantize
    \store r9
    add r9, r9, r5
    add r3, r3, #4 * \step
    subs r11, r11, #1
    bne 2b
    ldrd r0, r2, [sp, #FRAME_OUTPUT]
    add r1, r1, #32
    adds r0, r0, #2
    subs r2, r2, #1
    strd r0, r2, [sp, #FRAME_OUTPUT]
    bne 1b
    LEAVE
    .size \name, . - \name
.endm

.macro TILES_WINDOW_BOTH name, load_weights, window, step
    TILES_WINDOW \name\()_plain, \load_weights, \window, \step, REQUANTIZE_PLAIN, STORE_PLAIN
    TILES_WINDOW \name\()_checked, \load_weights, \window, \step, REQUANTIZE_CHECKED, STORE_CHECKED
.endm

    TILES_WINDOW_BOTH repedge_mve_window1_stride1, LOAD_WEIGHTS_1, WINDOW_1, 3
    TILES_WINDOW_BOTH repedge_mve_window1_stride2, LOAD_WEIGHTS_1, WINDOW_1, 6
    TILES_WINDOW_BOTH repedge_mve_window3_stride1, LOAD_WEIGHTS_3, WINDOW_3, 9
    TILES_WINDOW_BOTH repedge_mve_window3_stride2, LOAD_WEIGHTS_3, WINDOW_3, 18
