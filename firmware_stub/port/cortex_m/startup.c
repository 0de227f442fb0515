/* Vectors and start-up: floating point unit, stack limit, .data, .bss, stack paint, MPU, main. */
#include "board.h"
#include "semihosting.h"

#define STACK_PAINT 0xC5C5C5C5u
#define SCB_VTOR BOARD_REGISTER(0xE000ED08u)
#define SCB_SHCSR BOARD_REGISTER(0xE000ED24u)
#define FAULTS_ENABLED (7u << 16) /* MemManage, BusFault, UsageFault instead of HardFault */

int main(void);
void reset_handler(void);
_Noreturn void start(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    __stack_top,
    reset_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler, /* 4..7: MemManage .. SecureFault */
    0,
    0,
    0,
    fault_handler,
    fault_handler,
    0,
    fault_handler,
    fault_handler,
};

__attribute__((naked, noreturn)) void reset_handler(void)
{
    __asm volatile(
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
        "ldr r0, =0xE000ED88\n" /* CPACR: full access to coprocessors 10 and 11 */
        "ldr r1, [r0]\n"
        "orr r1, r1, #(0xF << 20)\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
#endif
#if defined(__ARM_FEATURE_MVE)
        "mov r0, #0x00040000\n" /* FPSCR.LTPSIZE = 4: no tail predication */
        "vmsr fpscr, r0\n"
#endif
#if __ARM_ARCH >= 8
        "ldr r0, =__stack_limit\n"
        "msr msplim, r0\n"
#endif
        "b start\n");
}

/* volatile: a call to memset here would run on the stack being painted */
static inline void fill(volatile uint32_t *from, const volatile uint32_t *to, uint32_t value)
{
    while (from < to) {
        *from++ = value;
    }
}

__attribute__((used)) _Noreturn void start(void)
{
    const uint32_t *source = __data_load;
    for (volatile uint32_t *word = __data_start; word < __data_end; ++word) {
        *word = *source++;
    }
    fill(__bss_start, __bss_end, 0u);
    /* a margin below this frame for whatever the compiler still keeps there */
    fill(__stack_limit, (uint32_t *)__builtin_frame_address(0) - 32, STACK_PAINT);
    SCB_VTOR = (uint32_t)vectors;
    SCB_SHCSR |= FAULTS_ENABLED;
    mpu_enable();
    semihosting_exit(main());
}

uint32_t stack_used_bytes(void)
{
    const volatile uint32_t *word = __stack_limit;
    while (word < __stack_top && *word == STACK_PAINT) {
        ++word;
    }
    return (uint32_t)__stack_top - (uint32_t)word;
}

uint32_t stack_bytes(void)
{
    return (uint32_t)__stack_top - (uint32_t)__stack_limit;
}
