/* void repedge_dsp_multiply_row(repedge_dsp_row_t *row): see repedge_dsp.h.
 *
 * In the pair steps: r0 weights, r1 inputs, r2 r3 inputs of pixel 0 and 1, r12 lr weights of two
 * channels, r4..r11 accumulators of channel 0..3 x pixel 0, 1. Everything else lives in the frame. */
    .syntax unified
    .thumb
    .text

/* repedge_dsp_row_t */
    .equ ROW_COUNT, 12
    .equ ROW_PAIRS, 16
    .equ STEP_BYTES, 20      /* with OUTPUT_STEP */
    .equ PIXEL_PAIRS, 28
    .equ WEIGHTS, 32         /* with GROUPS */
    .equ GROUPS_END, 40      /* with WEIGHT_SKIP */
    .equ OUTPUT, 48          /* two */
    .equ HEADROOM, 56        /* with OFFSET */
    .equ SIGNED_TIES, 64

/* frame */
    .equ SEGMENT_END, 0      /* of r1, with the place in SEGMENTS to go on from */
    .equ SEGMENT_ENTRY, 8    /* where in the unrolled steps a segment begins */
    .equ FIRST_ENTRY, 12     /* one step later: the first one is done apart */
    .equ GROUP_START, 16
    .equ SEGMENTS, 20        /* {first, end} of each row, then {0, code that ends the group} */
    .equ END_OF_THREE, 48    /* that code, where there are three rows */
    .equ GROUP, 52           /* constants of the group */
    .equ END, 56             /* of the groups, with the weights to skip */
    .equ OUT, 64             /* two */
    .equ ROW, 72
    .equ FRAME, 76

    .equ UNROLLED, 24
    .equ STEP_CODE_BYTES, 44

/* 16 multiply-accumulates in 11 instructions, all of 4 bytes */
.macro PAIR_STEP
    ldrd r2, r3, [r1], #8
    ldrd r12, lr, [r0], #8
    smlad r4, r12, r2, r4
    smlad r5, r12, r3, r5
    smlad r6, lr, r2, r6
    smlad r7, lr, r3, r7
    ldrd r12, lr, [r0], #8
    smlad r8, r12, r2, r8
    smlad r9, r12, r3, r9
    smlad r10, lr, r2, r10
    smlad r11, lr, r3, r11
.endm

/* the group's first: the bias is only in the accumulators of pixel 0 */
.macro FIRST_PAIR_STEP
    ldrd r2, r3, [r1], #8
    ldrd r12, lr, [r0], #8
    smlad r5, r12, r3, r4
    smlad r4, r12, r2, r4
    smlad r7, lr, r3, r6
    smlad r6, lr, r2, r6
    ldrd r12, lr, [r0], #8
    smlad r9, r12, r3, r8
    smlad r8, r12, r2, r8
    smlad r11, lr, r3, r10
    smlad r10, lr, r2, r10
.endm

.macro REQUANTIZE pixel0, pixel1, signed_ties
    ldmia r12!, {r1, r2, r3}
    smmulr \pixel0, \pixel0, r1
    smmulr \pixel1, \pixel1, r1
    .if \signed_ties
    add \pixel0, \pixel0, \pixel0, asr #31
    add \pixel1, \pixel1, \pixel1, asr #31
    .endif
    add \pixel0, \pixel0, r2
    add \pixel1, \pixel1, r2
    asr \pixel0, \pixel0, r3
    asr \pixel1, \pixel1, r3
    usat \pixel0, #8, \pixel0
    usat \pixel1, #8, \pixel1
.endm

/* Requantize the group, clamp, store, and go on to the next group or pixel pair. */
.macro END_GROUP signed_ties
    ldr r12, [sp, #GROUP]
    REQUANTIZE r4, r5, \signed_ties
    REQUANTIZE r6, r7, \signed_ties
    REQUANTIZE r8, r9, \signed_ties
    REQUANTIZE r10, r11, \signed_ties
    ldr lr, [sp, #ROW]
    ldrd r1, r2, [lr, #HEADROOM]
    orr r4, r4, r6, lsl #8
    orr r5, r5, r7, lsl #8
    orr r4, r4, r8, lsl #16
    orr r5, r5, r9, lsl #16
    orr r4, r4, r10, lsl #24
    orr r5, r5, r11, lsl #24
    uqadd8 r4, r4, r1        /* values above clamp_max - clamp_min saturate */
    uqadd8 r5, r5, r1
    uadd8 r4, r4, r2
    uadd8 r5, r5, r2
    ldrd r6, r8, [sp, #OUT]
    str r5, [r8], #4
    str r4, [r6], #4
    strd r6, r8, [sp, #OUT]
    ldrd r2, r3, [sp, #END]
    add r0, r0, r3
    cmp r12, r2
    bne.w group
.endm

    .global repedge_dsp_multiply_row
    .type repedge_dsp_multiply_row, %function
    .thumb_func
repedge_dsp_multiply_row:
    push {r4-r11, lr}
    sub sp, sp, #FRAME
    str r0, [sp, #ROW]
    ldrd r4, r5, [r0, #GROUPS_END]
    strd r4, r5, [sp, #END]
    ldrd r4, r5, [r0, #OUTPUT]
    strd r4, r5, [sp, #OUT]

    /* the segments: 8 bytes of input per pair step */
    ldrd r7, r4, [r0, #ROW_COUNT]
    add r6, sp, #SEGMENTS
    mov r8, r0
1:  ldr r1, [r8], #4
    add r2, r1, r4, lsl #3
    stmia r6!, {r1, r2}
    subs r7, r7, #1
    bne 1b
    movs r1, #0
    adr.w r2, end_group
    ldr r3, [r0, #SIGNED_TIES]
    cbz r3, 2f
    adr.w r2, end_group_signed
2:  orr r2, r2, #1
    stmia r6!, {r1, r2}

    /* begin so that the last of the unrolled steps is a row's last */
    movs r2, #UNROLLED
    udiv r3, r4, r2
    mls r3, r3, r2, r4
    cbnz r3, 3f
    mov r3, r2
3:  movs r1, #STEP_CODE_BYTES
    adr.w r2, steps_end
    orr r2, r2, #1
    mls r2, r3, r1, r2
    add r3, r2, r1
    strd r2, r3, [sp, #SEGMENT_ENTRY]

    adr.w r2, group_start
    ldr r3, [r0, #ROW_COUNT]
    cmp r4, #5
    it eq
    cmpeq r3, #3
    bne 4f
    adr.w r2, group_start_5
4:  orr r2, r2, #1
    str r2, [sp, #GROUP_START]

pixel:
    ldr r1, [sp, #ROW]
    ldrd r0, r12, [r1, #WEIGHTS]
group:
    ldmia r12!, {r4, r6, r8, r10}
    str r12, [sp, #GROUP]
    ldr pc, [sp, #GROUP_START]

    .balign 4
group_start:
    add r3, sp, #SEGMENTS
    ldmia r3!, {r1, r2}
    strd r2, r3, [sp, #SEGMENT_END]
    FIRST_PAIR_STEP
    ldr pc, [sp, #FIRST_ENTRY]
    .balign 4
steps:
    .rept UNROLLED
    PAIR_STEP
    .endr
    .balign 4
steps_end:
    ldrd r2, r3, [sp, #SEGMENT_END]
    cmp r1, r2
    bne.w steps
    ldmia r3!, {r1, r2}
    cbz r1, 5f
    strd r2, r3, [sp, #SEGMENT_END]
    ldr pc, [sp, #SEGMENT_ENTRY]
5:  bx r2

/* three rows of five steps, as a first layer of three channels has, without the segments' price */
    .balign 4
group_start_5:
    ldr r1, [sp, #SEGMENTS]
    FIRST_PAIR_STEP
    .rept 4
    PAIR_STEP
    .endr
    .irp segment, 1, 2
    ldr r1, [sp, #SEGMENTS + 8 * \segment]
    .rept 5
    PAIR_STEP
    .endr
    .endr
    ldr pc, [sp, #END_OF_THREE]

    .balign 4
end_group_signed:
    END_GROUP 1
    b end_pixel
    .balign 4
end_group:
    END_GROUP 0
end_pixel:
    ldr r1, [lr, #PIXEL_PAIRS]
    subs r1, r1, #1
    beq 8f
    str r1, [lr, #PIXEL_PAIRS]
    ldrd r2, r3, [lr, #STEP_BYTES]
    add r6, r6, r3
    add r8, r8, r3
    strd r6, r8, [sp, #OUT]
    ldr r7, [lr, #ROW_COUNT]
    add r12, sp, #SEGMENTS
7:  ldrd r4, r5, [r12]
    add r4, r4, r2
    add r5, r5, r2
    strd r4, r5, [r12], #8
    subs r7, r7, #1
    bne 7b
    b.w pixel
8:  add sp, sp, #FRAME
    pop {r4-r11, pc}
    .size repedge_dsp_multiply_row, . - repedge_dsp_multiply_row
