/* kernel_driver CASES RESULTS: runs kernels on cases that a test wrote; every buffer is as large as
 * needed and no larger, so that the address sanitizer sees each byte too far. All numbers are
 * little-endian.
 *
 * A case: uint32 kind (0..2 as repedge_kind_t), int32[12] height, width, channels in and out,
 * stride, bit_width, input and output zero point, clamp_min, clamp_max; then indices, codebook,
 * bias, multiplier, shift, input. Or kind 3: uint32 count, then count accumulators, multipliers and
 * shifts (int32); the results are int32. */
#include <stdio.h>
#include <stdlib.h>

#include "repedge_kernels.h"
#include "repedge_requantize.h"
#include "repedge_unpack.h"

enum { REQUANTIZE = 3, FACTS = 12 };

static FILE *cases, *results;

static void *read_exactly(size_t bytes)
{
    void *buffer = malloc(bytes);
    if (buffer == NULL || fread(buffer, 1, bytes, cases) != bytes) {
        exit(3);
    }
    return buffer;
}

static void write_and_free(void *buffer, size_t bytes)
{
    if (fwrite(buffer, 1, bytes, results) != bytes) {
        exit(4);
    }
    free(buffer);
}

static void run_requantize(void)
{
    uint32_t *count = read_exactly(sizeof *count);
    const size_t bytes = *count * sizeof(int32_t);
    int32_t *accumulator = read_exactly(bytes);
    int32_t *multiplier = read_exactly(bytes);
    int32_t *shift = read_exactly(bytes);
    for (uint32_t k = 0; k < *count; ++k) {
        accumulator[k] = repedge_requantize(accumulator[k], multiplier[k], shift[k]);
    }
    write_and_free(accumulator, bytes);
    free(multiplier);
    free(shift);
    free(count);
}

static repedge_layer_t read_layer(uint32_t kind)
{
    int32_t *f = read_exactly(FACTS * sizeof *f);
    const repedge_layer_t layer = {
        .kind = (uint8_t)kind,
        .input = {(uint16_t)f[0], (uint16_t)f[1], (uint16_t)f[2]},
        .output = {(uint16_t)f[3], (uint16_t)f[4], (uint16_t)f[5]},
        .stride = (uint8_t)f[6],
        .bit_width = (uint8_t)f[7],
        .input_zero_point = (int8_t)f[8],
        .output_zero_point = (int8_t)f[9],
        .clamp_min = (int8_t)f[10],
        .clamp_max = (int8_t)f[11],
    };
    free(f);
    return layer;
}

static size_t volume(repedge_shape_t shape)
{
    return (size_t)shape.height * shape.width * shape.channels;
}

static void run_kernel(const repedge_layer_t *layer, const int8_t *input, int8_t *output)
{
    if (layer->kind == REPEDGE_CONV3X3) {
        int8_t *scratch = malloc(REPEDGE_CONV3X3_SCRATCH_BYTES(layer->input.channels));
        repedge_conv3x3_s8(layer, input, scratch, output);
        free(scratch);
    } else if (layer->kind == REPEDGE_AVERAGE_POOL) {
        repedge_average_pool_s8(layer, input, output);
    } else {
        repedge_fully_connected_s8(layer, input, output);
    }
}

static void run_layer(uint32_t kind)
{
    repedge_layer_t layer = read_layer(kind);
    const size_t channels = layer.output.channels;
    void *tables[5] = {NULL};
    if (kind != REPEDGE_AVERAGE_POOL) {
        const size_t taps = kind == REPEDGE_CONV3X3 ? 9u : 1u;
        const size_t row = repedge_row_bytes(taps * layer.input.channels, layer.bit_width);
        layer.indices = tables[0] = read_exactly(channels * row);
        layer.codebook = tables[1] = read_exactly((size_t)1 << layer.bit_width);
        layer.bias = tables[2] = read_exactly(4u * channels);
        layer.multiplier = tables[3] = read_exactly(4u * channels);
        layer.shift = tables[4] = read_exactly(channels);
    }
    int8_t *input = read_exactly(volume(layer.input));
    int8_t *output = malloc(volume(layer.output));
    run_kernel(&layer, input, output);
    write_and_free(output, volume(layer.output));
    free(input);
    for (size_t k = 0; k < 5; ++k) {
        free(tables[k]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || (cases = fopen(argv[1], "rb")) == NULL ||
        (results = fopen(argv[2], "wb")) == NULL) {
        return 2;
    }
    uint32_t kind;
    while (fread(&kind, sizeof kind, 1, cases) == 1u) {
        if (kind == REQUANTIZE) {
            run_requantize();
        } else {
            run_layer(kind);
        }
    }
    fclose(cases);
    return fclose(results) == 0 ? 0 : 4;
}
