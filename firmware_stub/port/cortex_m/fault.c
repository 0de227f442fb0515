/* Every exception ends here: say what happened and leave with a code that cannot be mistaken. */
#include "board.h"
#include "semihosting.h"

#define SCB_CFSR BOARD_REGISTER(0xE000ED28u)
#define SCB_HFSR BOARD_REGISTER(0xE000ED2Cu)
#define SCB_MMFAR BOARD_REGISTER(0xE000ED34u)
#define SCB_BFAR BOARD_REGISTER(0xE000ED38u)

_Noreturn void fault_report(void);

static void print_register(const char *name, uint32_t value)
{
    semihosting_print(name);
    semihosting_print_hex(value);
}

__attribute__((used)) _Noreturn void fault_report(void)
{
    uint32_t ipsr;
    __asm volatile("mrs %0, ipsr" : "=r"(ipsr));
    semihosting_print("repedge: fault ipsr=");
    semihosting_print_unsigned(ipsr);
    print_register(" cfsr=0x", SCB_CFSR);
    print_register(" hfsr=0x", SCB_HFSR);
    print_register(" mmfar=0x", SCB_MMFAR);
    print_register(" bfar=0x", SCB_BFAR);
    semihosting_print("\n");
    semihosting_exit(EXIT_FAULT + (int)ipsr);
}

/* The stack may be the reason: take a fresh one before the first push, or the core locks up. */
__attribute__((naked)) void fault_handler(void)
{
    __asm volatile(
#if __ARM_ARCH >= 8
        "movs r0, #0\n"
        "msr msplim, r0\n"
#endif
        "ldr r0, =__stack_top\n"
        "mov sp, r0\n"
        "b fault_report\n");
}
