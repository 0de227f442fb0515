/* Runs convolutions on cases read from `cases.bin` and appends their outputs to `results.bin`; for
 * tests and benchmarks. Case k < 63 is bucket k of a profiler.
 *
 * A case, little-endian: int32[16] kernel (repedge_kernel_t), height, width, channels in and out,
 * stride, bit_width, input and output zero point, clamp_min, clamp_max, strip_channels, bytes of
 * scratch, bytes of indices; then indices, codebook, bias, multiplier, shift, input. Scratch and
 * output are filled with rubbish before and must end where they say. */
#include "board.h"
#include "repedge_kernels.h"
#include "repedge_prof.h"
#include "semihosting.h"

enum { EXIT_NO_CASES = 2, EXIT_MEMORY = 30, EXIT_GUARD = 31, EXIT_KERNEL = 32 };
enum { FACTS = 16, GUARD_BYTES = 64, RUBBISH = 0xA5, MEMORY_BYTES = 0x60000 };

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

static repedge_layer_t read_layer(const int32_t *f)
{
    const size_t channels = (size_t)f[6];
    repedge_layer_t layer = {
        .convolve = convolution(f[0]),
        .kernel = (uint8_t)f[0],
        .kind = REPEDGE_CONV3X3,
        .input = {(uint16_t)f[1], (uint16_t)f[2], (uint16_t)f[3]},
        .output = {(uint16_t)f[4], (uint16_t)f[5], (uint16_t)f[6]},
        .stride = (uint8_t)f[7],
        .bit_width = (uint8_t)f[8],
        .input_zero_point = (int8_t)f[9],
        .output_zero_point = (int8_t)f[10],
        .clamp_min = (int8_t)f[11],
        .clamp_max = (int8_t)f[12],
        .strip_channels = (uint16_t)f[13],
        .scratch_bytes = (uint32_t)f[14],
    };
    layer.indices = read_exactly((size_t)f[15]);
    layer.codebook = read_exactly((size_t)1 << layer.bit_width);
    layer.bias = read_exactly(4u * channels);
    layer.multiplier = read_exactly(4u * channels);
    layer.shift = read_exactly(channels);
    return layer;
}

static size_t volume(repedge_shape_t shape)
{
    return (size_t)shape.height * shape.width * shape.channels;
}

static void run_case(uint32_t number)
{
    memory_used = 0u;
    const repedge_layer_t layer = read_layer(read_exactly(FACTS * sizeof(int32_t)));
    const size_t output_bytes = volume(layer.output);
    const int8_t *const input = read_exactly(volume(layer.input));
    int8_t *const scratch = take_guarded(layer.scratch_bytes);
    int8_t *const output = take_guarded(output_bytes);
    if (layer.convolve == NULL) {
        fail(EXIT_KERNEL, number);
    }
    prof_mark(number < REPEDGE_PROF_END ? number : REPEDGE_PROF_END);
    layer.convolve(&layer, input, scratch, output);
    prof_mark(REPEDGE_PROF_END);
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
