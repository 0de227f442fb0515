/* The smallest firmware with the product's conventions: three "layers" between marks, for the tests
 * of the emulator, the profile and the ELF sizes. */
#include <stdint.h>

extern uint32_t __stack_top[], __data_load[], __data_start[], __data_end[], __bss_start[],
    __bss_end[];

volatile uint32_t prof_marks[64];
static const volatile uint32_t images = IMAGES; /* volatile: the same code for any count */
uint8_t repedge_arena[256];
uint32_t counter = 7; /* .data: flash and RAM */
const uint8_t model_conv0_indices[40] = {1, 2, 3};
const uint8_t model_conv0_codebook[16] = {4};

__attribute__((noinline)) void prof_mark(uint32_t layer)
{
    prof_marks[layer] = layer;
}

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(uint32_t status)
{
    const uint32_t block[2] = {0x20026, status};
    semihosting(0x20, block);
}

__attribute__((noinline)) static void store(uint32_t first, uint32_t count)
{
    for (uint32_t k = first; k < first + count; k++) {
        repedge_arena[k] = (uint8_t)(k + model_conv0_indices[k % 40]);
    }
}

__attribute__((noinline)) static int deep(int depth)
{
    volatile uint8_t frame[64];
    frame[0] = (uint8_t)depth;
    return depth ? deep(depth - 1) + frame[0] : 0;
}

__attribute__((used, noreturn)) static void start(void)
{
    for (uint32_t *to = __data_start, *from = __data_load; to < __data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = __bss_start; to < __bss_end;) {
        *to++ = 0;
    }
#ifdef FAULT
    *(volatile uint32_t *)0xDFFFFFF0 = 1;
#endif
#ifdef HANG
    for (;;) {
    }
#endif
    for (uint32_t image = 0; image < images; image++) {
        prof_mark(0);
        store(0, 100);
        prof_mark(1);
        store(100, 28);
        prof_mark(2);
        counter += (uint32_t)deep(3);
        prof_mark(63);
    }
    semihosting(4, "small: done\n");
    leave(STATUS);
    for (;;) {
    }
}

__attribute__((used, noreturn)) static void fault_exit(void)
{
    uint32_t exception;
    __asm volatile("mrs %0, ipsr" : "=r"(exception));
    leave(100 + exception);
    for (;;) {
    }
}

__attribute__((naked, used)) static void fault(void)
{
    __asm volatile("ldr r0, =__stack_top\n mov sp, r0\n b fault_exit\n");
}

__attribute__((section(".vectors"), used)) const void *const vectors[8] = {
    __stack_top, start, fault, fault, fault, fault, fault, fault,
};
