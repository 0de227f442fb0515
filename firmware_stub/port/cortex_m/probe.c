/* Breaks one rule on purpose, to see that it is caught; `probe.bin` in the working directory names
 * it: o stack overflow, h first byte above the RAM, l last byte below the stack, f write to flash,
 * x execution from RAM, n nothing (last byte of the RAM). Exit code 0 means that it was not caught.
 */
#include "board.h"
#include "semihosting.h"

static __attribute__((noinline)) uint32_t recurse(uint32_t depth)
{
    volatile uint32_t frame[16];
    frame[0] = depth;
    return depth == 0u ? frame[0] : recurse(depth - 1u) + frame[0];
}

static void write_to(uint32_t address)
{
    *(volatile uint8_t *)address = 1u;
}

int main(void)
{
    char rule = '\0';
    const int file = semihosting_open("probe.bin", SEMIHOSTING_READ);
    if (file < 0 || !semihosting_read(file, &rule, 1)) {
        return EXIT_READ;
    }
    switch (rule) {
    case 'o':
        return recurse(100000u) == 0u ? 1 : 0;
    case 'h':
        write_to((uint32_t)__ram_end);
        return 0;
    case 'l':
        write_to((uint32_t)__stack_limit - 1u);
        return 0;
    case 'f':
        write_to((uint32_t)__flash_start + 256u);
        return 0;
    case 'x': {
        static uint16_t code[2] = {0x4770u, 0x4770u}; /* bx lr */
        ((void (*)(void))((uint32_t)code | 1u))();
        return 0;
    }
    case 'n':
        write_to((uint32_t)__ram_end - 1u);
        return 0;
    default:
        return EXIT_READ;
    }
}
