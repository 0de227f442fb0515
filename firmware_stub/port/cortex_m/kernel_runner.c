/* Runs layers on cases read from `cases.bin` (kernel_case.h) and appends their outputs to
 * `results.bin`; for tests and benchmarks. Case k < 63 is bucket k of a profiler. Scratch and
 * output are filled with rubbish before and must end where they say. */
#include "../kernel_case.h"
#include "board.h"
#include "repedge_prof.h"
#include "semihosting.h"

enum { EXIT_MEMORY = 30, EXIT_GUARD = 31 };
enum { GUARD_BYTES = 64, RUBBISH = 0xA5, MEMORY_BYTES = 0x60000 };

static _Alignas(REPEDGE_ARENA_ALIGNMENT) uint8_t memory[MEMORY_BYTES];
static size_t memory_used;
static int cases, results;

static _Noreturn void fail(int status, uint32_t number)
{
    semihosting_print("repedge: failed at case ");
    semihosting_print_unsigned(number);
    semihosting_print("\n");
    semihosting_exit(status);
}

static void *take(size_t bytes)
{
    void *const taken = memory + memory_used;
    memory_used += (bytes + REPEDGE_ARENA_ALIGNMENT - 1u) & ~(size_t)(REPEDGE_ARENA_ALIGNMENT - 1u);
    if (memory_used > MEMORY_BYTES) {
        fail(EXIT_MEMORY, 0u);
    }
    return taken;
}

static void *read_exactly(size_t bytes)
{
    void *const taken = take(bytes);
    if (bytes > 0u && !semihosting_read(cases, taken, bytes)) {
        fail(EXIT_READ, 0u);
    }
    return taken;
}

/* Rubbish with a guard before and after; the bytes between the guards. */
static int8_t *take_guarded(size_t bytes)
{
    volatile uint8_t *const taken = take(bytes + 2u * GUARD_BYTES);
    for (size_t k = 0; k < bytes + 2u * GUARD_BYTES; ++k) {
        taken[k] = RUBBISH;
    }
    return (int8_t *)(uintptr_t)(taken + GUARD_BYTES);
}

static void check_guards(const int8_t *guarded, size_t bytes, uint32_t number)
{
    const uint8_t *const start = (const uint8_t *)guarded;
    for (size_t k = 0; k < GUARD_BYTES; ++k) {
        if (start[bytes + k] != RUBBISH || *(start - 1 - k) != RUBBISH) {
            fail(EXIT_GUARD, number);
        }
    }
}

static repedge_convolve_t *convolution(int32_t kernel)
{
    switch (kernel) {
    case REPEDGE_KERNEL_PORTABLE:
        return repedge_conv3x3_s8;
#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
    case REPEDGE_KERNEL_DSP_DIRECT:
        return repedge_conv3x3_s8_direct;
    case REPEDGE_KERNEL_DSP_FIRST:
        return repedge_conv3x3_s8_first;
    case REPEDGE_KERNEL_DSP_WINOGRAD2:
        return repedge_conv3x3_s8_winograd2;
    case REPEDGE_KERNEL_DSP_WINOGRAD4:
        return repedge_conv3x3_s8_winograd4;
#elif defined(__ARM_FEATURE_MVE)
    case REPEDGE_KERNEL_MVE_DIRECT:
        return repedge_conv3x3_s8_mve_direct;
    case REPEDGE_KERNEL_MVE_FIRST:
        return repedge_conv3x3_s8_mve_first;
#endif
    default:
        return NULL;
    }
}

static repedge_layer_t read_layer(void)
{
    const int32_t *const facts = read_exactly(CASE_FACTS * sizeof(int32_t));
    const void *tables[CASE_TABLES];
    for (uint32_t k = 0; k < CASE_TABLES; ++k) {
        tables[k] = read_exactly(case_table_bytes(facts, k));
    }
    repedge_layer_t layer = case_layer(facts);
    layer.convolve = convolution(layer.kernel);
    case_attach(&layer, tables);
    return layer;
}

static void run_case(uint32_t number)
{
    memory_used = 0u;
    const repedge_layer_t layer = read_layer();
    const size_t output_bytes = case_volume(layer.output);
    const int8_t *const input = read_exactly(case_volume(layer.input));
    int8_t *const scratch = take_guarded(layer.scratch_bytes);
    int8_t *const output = take_guarded(output_bytes);
    if (layer.convolve == NULL) {
        fail(EXIT_KERNEL, number);
    }
    prof_mark(number < REPEDGE_PROF_END ? number : REPEDGE_PROF_END);
    const repedge_status_t status = case_run(&layer, input, scratch, output);
    prof_mark(REPEDGE_PROF_END);
    if (status != REPEDGE_OK) {
        fail(EXIT_REFUSED + (int)status, number);
    }
    check_guards(scratch, layer.scratch_bytes, number);
    check_guards(output, output_bytes, number);
    if (!semihosting_write(results, output, output_bytes)) {
        fail(EXIT_WRITE, number);
    }
}

int main(void)
{
    cases = semihosting_open("cases.bin", SEMIHOSTING_READ);
    results = semihosting_open("results.bin", SEMIHOSTING_WRITE);
    if (cases < 0 || results < 0) {
        return EXIT_NO_CASES;
    }
    memory_used = 0u;
    const uint32_t *const count = read_exactly(sizeof(uint32_t));
    const uint32_t number_of_cases = *count;
    for (uint32_t number = 0; number < number_of_cases; ++number) {
        run_case(number);
    }
    return semihosting_close(results) ? 0 : EXIT_WRITE;
}
