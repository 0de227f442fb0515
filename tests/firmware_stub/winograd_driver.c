/* Runs the Winograd kernels on the cases of cases.bin and writes their outputs to outputs.bin, on a
 * board under emulation or on the host; semihosting.h is the way to both files.
 *
 * A case: int32[16] kernel (repedge_kernel_t), height, width, channels in and out, stride, bit_width,
 * input and output zero point, clamp_min, clamp_max (the shapes as repedge_layer_t has them), strip,
 * scratch_bytes, bytes of indices; then indices, codebook, bias, multiplier, shift, input. Case k is
 * marked k modulo 60 for a profiler. */
#include "repedge_kernels.h"
#include "repedge_prof.h"
#include "semihosting.h"

enum { FACTS = 16, MARKS = 60, GUARD = 64, POOL_BYTES = 3 << 20, BROKEN_GUARD = 5 };

int main(void);

static int cases, outputs;

#ifdef __arm__
static _Alignas(16) uint8_t pool[POOL_BYTES];
static size_t taken;

static void *take(size_t bytes)
{
    uint8_t *const start = pool + taken;
    taken += (bytes + GUARD + 15u) / 16u * 16u;
    if (taken > sizeof pool) {
        semihosting_exit(6);
    }
    for (size_t k = 0; k < GUARD; ++k) {
        start[bytes + k] = 0x5a;
    }
    return start;
}

static void give_back(void *start, size_t bytes)
{
    for (size_t k = 0; k < GUARD; ++k) {
        if (((uint8_t *)start)[bytes + k] != 0x5a) {
            semihosting_exit(BROKEN_GUARD);
        }
    }
    taken = (size_t)((uint8_t *)start - pool);
}
#else
#include <stdlib.h>

static void *take(size_t bytes)
{
    return malloc(bytes);
}

static void give_back(void *start, size_t bytes)
{
    (void)bytes;
    free(start);
}
#endif

static void *read_exactly(size_t bytes)
{
    void *const buffer = take(bytes);
    if (!semihosting_read(cases, buffer, bytes)) {
        semihosting_exit(3);
    }
    return buffer;
}

static repedge_convolve_t *kernel_of(int32_t number)
{
    switch (number) {
    case REPEDGE_KERNEL_PORTABLE:
        return repedge_conv3x3_s8;
    case REPEDGE_KERNEL_DSP_WINOGRAD2:
        return repedge_conv3x3_s8_winograd2;
    case REPEDGE_KERNEL_DSP_WINOGRAD4:
        return repedge_conv3x3_s8_winograd4;
    default:
        semihosting_exit(7);
    }
}

static size_t volume(repedge_shape_t shape)
{
    return (size_t)shape.height * shape.width * shape.channels;
}

static repedge_layer_t layer_of(const int32_t *f)
{
    return (repedge_layer_t){
        .kind = REPEDGE_CONV3X3,
        .convolve = kernel_of(f[0]),
        .kernel = (uint8_t)f[0],
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
}

static void run_case(const int32_t *facts, unsigned number)
{
    repedge_layer_t layer = layer_of(facts);
    const size_t channels = layer.output.channels;
    const size_t sizes[] = {(size_t)facts[15], (size_t)1 << layer.bit_width, 4u * channels,
                            4u * channels,     channels,                     volume(layer.input)};
    void *parts[6];
    for (size_t k = 0; k < 6u; ++k) {
        parts[k] = read_exactly(sizes[k]);
    }
    layer.indices = parts[0];
    layer.codebook = parts[1];
    layer.bias = parts[2];
    layer.multiplier = parts[3];
    layer.shift = parts[4];
    int8_t *const scratch = take(layer.scratch_bytes);
    int8_t *const output = take(volume(layer.output));
    prof_mark(number % MARKS);
    layer.convolve(&layer, parts[5], scratch, output);
    prof_mark(REPEDGE_PROF_END);
    if (!semihosting_write(outputs, output, volume(layer.output))) {
        semihosting_exit(4);
    }
    give_back(output, volume(layer.output));
    give_back(scratch, layer.scratch_bytes);
    for (size_t k = 6; k-- > 0u;) {
        give_back(parts[k], sizes[k]);
    }
}

int main(void)
{
    cases = semihosting_open("cases.bin", SEMIHOSTING_READ);
    outputs = semihosting_open("outputs.bin", SEMIHOSTING_WRITE);
    int32_t count;
    int32_t facts[FACTS];
    if (cases < 0 || outputs < 0 || !semihosting_read(cases, &count, sizeof count)) {
        return 2;
    }
    for (unsigned k = 0; k < (unsigned)count; ++k) {
        if (!semihosting_read(cases, facts, sizeof facts)) {
            return 3;
        }
        run_case(facts, k);
    }
    return semihosting_close(outputs) ? 0 : 4;
}
