/* winograd_driver CASES RESULTS: the Winograd kernels on the host, with the plain C steps, on cases
 * as firmware_stub/port/cortex_m/kernel_runner.c reads them; every buffer is as large as needed and
 * no larger, so that the address sanitizer sees each byte too far. */
#include <stdio.h>
#include <stdlib.h>

#include "repedge_kernels.h"

enum { FACTS = 16, PARTS = 6 };

static FILE *cases, *results;

static void *read_exactly(size_t bytes)
{
    void *buffer = malloc(bytes);
    if (buffer == NULL || fread(buffer, 1, bytes, cases) != bytes) {
        exit(3);
    }
    return buffer;
}

static size_t volume(repedge_shape_t shape)
{
    return (size_t)shape.height * shape.width * shape.channels;
}

static repedge_layer_t layer_of(const int32_t *f)
{
    return (repedge_layer_t){
        .convolve = f[0] == REPEDGE_KERNEL_DSP_WINOGRAD2 ? repedge_conv3x3_s8_winograd2
                                                         : repedge_conv3x3_s8_winograd4,
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
}

static void run_case(void)
{
    int32_t *const facts = read_exactly(FACTS * sizeof(int32_t));
    repedge_layer_t layer = layer_of(facts);
    const size_t channels = layer.output.channels;
    const size_t sizes[PARTS] = {(size_t)facts[15], (size_t)1 << layer.bit_width,
                                 4u * channels,     4u * channels,
                                 channels,          volume(layer.input)};
    void *parts[PARTS];
    for (size_t k = 0; k < PARTS; ++k) {
        parts[k] = read_exactly(sizes[k]);
    }
    layer.indices = parts[0];
    layer.codebook = parts[1];
    layer.bias = parts[2];
    layer.multiplier = parts[3];
    layer.shift = parts[4];
    int8_t *const scratch = malloc(layer.scratch_bytes);
    int8_t *const output = malloc(volume(layer.output));
    layer.convolve(&layer, parts[5], scratch, output);
    if (fwrite(output, 1, volume(layer.output), results) != volume(layer.output)) {
        exit(4);
    }
    free(output);
    free(scratch);
    for (size_t k = 0; k < PARTS; ++k) {
        free(parts[k]);
    }
    free(facts);
}

int main(int argc, char **argv)
{
    if (argc != 3 || (cases = fopen(argv[1], "rb")) == NULL ||
        (results = fopen(argv[2], "wb")) == NULL) {
        return 2;
    }
    uint32_t *const count = read_exactly(sizeof *count);
    for (uint32_t k = 0; k < *count; ++k) {
        run_case();
    }
    free(count);
    fclose(cases);
    return fclose(results) == 0 ? 0 : 4;
}
