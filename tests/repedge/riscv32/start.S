/* RISC-V start-up for QEMU's `virt` machine: stack, .bss, main, and the test device that ends the emulation. */
    .section .start, "ax"
    .globl _start
_start:
    la sp, __stack_top
    la t0, __bss_start
    la t1, __bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  call app_main
    li t0, 0x100000 /* the test device: 0x5555 ends well */
    li t1, 0x5555
    sw t1, 0(t0)
3:  j 3b
