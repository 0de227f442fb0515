/* The chip's memory and nothing else: flash is read and executed, RAM is read and written, every
 * other address faults. So an access beyond the real part's RAM is caught although the emulated
 * machine may have more there; and because the stack lies first in RAM, the area below it is out of
 * bounds. */
#include "board.h"
#include "semihosting.h"

#define MPU_TYPE BOARD_REGISTER(0xE000ED90u)
#define MPU_CTRL BOARD_REGISTER(0xE000ED94u)
#define MPU_RNR BOARD_REGISTER(0xE000ED98u)
#define MPU_RBAR BOARD_REGISTER(0xE000ED9Cu)
#define MPU_CTRL_ENABLE 1u /* without the default map, and off inside HardFault */

static inline uint32_t region_count(void)
{
    return (MPU_TYPE >> 8) & 0xFFu;
}

#if __ARM_ARCH >= 8

#define MPU_RLAR BOARD_REGISTER(0xE000EDA0u)
#define MPU_MAIR0 BOARD_REGISTER(0xE000EDC0u)
#define FLASH_ACCESS (2u << 1)      /* privileged, read only */
#define RAM_ACCESS ((0u << 1) | 1u) /* privileged, read and write, never execute */

/* PMSAv8: a region is any run of 32-byte blocks. Returns the next free region. */
static uint32_t allow(uint32_t region, uint32_t start, uint32_t end, uint32_t access)
{
    MPU_RNR = region;
    MPU_RBAR = start | access;
    MPU_RLAR = ((end - 1u) & ~31u) | 1u; /* attributes 0, enabled */
    return region + 1u;
}

static void prepare(void)
{
    MPU_MAIR0 = 0x44u; /* attributes 0: normal memory, not cached */
}

#else

#define MPU_RASR BOARD_REGISTER(0xE000EDA0u)
#define FLASH_ACCESS (6u << 24) /* read only, normal memory */
#define RAM_ACCESS                                                                                 \
    ((1u << 28) | (3u << 24) | (1u << 18)) /* never execute, read and write, shareable */
#define CACHEABLE (1u << 17)

/* Largest power of two that `start` is aligned to and `bytes` holds. */
static uint32_t block_bytes(uint32_t start, uint32_t bytes)
{
    uint32_t block = 1u << (31 - __builtin_clz(bytes));
    while (start % block != 0u) {
        block /= 2u;
    }
    return block;
}

/* PMSAv7: a region is an aligned power of two, so a range takes several. Returns the next free one.
 */
static uint32_t allow(uint32_t region, uint32_t start, uint32_t end, uint32_t access)
{
    while (start < end) {
        const uint32_t block = block_bytes(start, end - start);
        const uint32_t size_field =
            (uint32_t)(30 - __builtin_clz(block)); /* block = 2^(field + 1) */
        if (region < region_count()) {
            MPU_RNR = region;
            MPU_RBAR = start;
            MPU_RASR = access | CACHEABLE | (size_field << 1) | 1u;
        }
        start += block;
        ++region;
    }
    return region;
}

static void prepare(void)
{
}

#endif

void mpu_enable(void)
{
    if (region_count() == 0u) {
        semihosting_print("repedge: no MPU, accesses are not checked\n");
        return;
    }
    prepare();
    uint32_t used = allow(0u, (uint32_t)__flash_start, (uint32_t)__flash_end, FLASH_ACCESS);
    used = allow(used, (uint32_t)__ram_start, (uint32_t)__ram_end, RAM_ACCESS);
    if (used > region_count()) {
        semihosting_print("repedge: the MPU has too few regions for these flash and RAM sizes\n");
        semihosting_exit(EXIT_MPU);
    }
    MPU_CTRL = MPU_CTRL_ENABLE;
    __asm volatile("dsb\n isb" ::: "memory");
}
