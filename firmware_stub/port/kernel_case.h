/* A layer with its tables and an input, as deploy/kernel_runner.py writes it for the kernel runners
 * of ports. Little-endian:
 *
 *     int32[17]  kind (repedge_kind_t), kernel (repedge_kernel_t), height, width, channels in and
 *                out, stride, bit_width, input and output zero point, clamp_min, clamp_max,
 *                strip_channels, bytes of scratch, bytes of indices
 *     then       indices, codebook (none at eight bits), bias, multiplier, shift (none of these for
 * a pool), input */
#ifndef REPEDGE_KERNEL_CASE_H
#define REPEDGE_KERNEL_CASE_H

#include "repedge_kernels.h"

enum { CASE_FACTS = 17, CASE_TABLES = 5 };

/* Exit statuses of the runners; a kernel that refuses a case gives EXIT_REFUSED + its status. */
enum { EXIT_NO_CASES = 2, EXIT_KERNEL = 32, EXIT_REFUSED = 40 };

static inline size_t case_volume(repedge_shape_t shape)
{
    return (size_t)shape.height * shape.width * shape.channels;
}

/* The layer without kernel and tables. */
static inline repedge_layer_t case_layer(const int32_t f[CASE_FACTS])
{
    return (repedge_layer_t){
        .kind = (uint8_t)f[0],
        .kernel = (uint8_t)f[1],
        .input = {(uint16_t)f[2], (uint16_t)f[3], (uint16_t)f[4]},
        .output = {(uint16_t)f[5], (uint16_t)f[6], (uint16_t)f[7]},
        .stride = (uint8_t)f[8],
        .bit_width = (uint8_t)f[9],
        .input_zero_point = (int8_t)f[10],
        .output_zero_point = (int8_t)f[11],
        .clamp_min = (int8_t)f[12],
        .clamp_max = (int8_t)f[13],
        .strip_channels = (uint16_t)f[14],
        .scratch_bytes = (uint32_t)f[15],
    };
}

/* Bytes of table k in the order of the file. */
static inline size_t case_table_bytes(const int32_t f[CASE_FACTS], uint32_t k)
{
    const size_t channels = (size_t)f[7];
    const size_t entries = f[9] == (int32_t)REPEDGE_PLAIN_BITS ? 0u : (size_t)1 << f[9];
    const size_t bytes[CASE_TABLES] = {(size_t)f[16], entries, 4u * channels, 4u * channels,
                                       channels};
    return f[0] == REPEDGE_AVERAGE_POOL ? 0u : bytes[k];
}

static inline void case_attach(repedge_layer_t *layer, const void *const tables[CASE_TABLES])
{
    layer->indices = tables[0];
    layer->codebook = layer->bit_width == REPEDGE_PLAIN_BITS ? NULL : tables[1];
    layer->bias = tables[2];
    layer->multiplier = tables[3];
    layer->shift = tables[4];
}

static inline repedge_status_t case_run(const repedge_layer_t *layer, const int8_t *input,
                                        int8_t *scratch, int8_t *output)
{
    if (layer->kind == REPEDGE_CONV3X3) {
        return layer->convolve(layer, input, scratch, output);
    }
    if (layer->kind == REPEDGE_AVERAGE_POOL) {
        repedge_average_pool_s8(layer, input, output);
    } else {
        repedge_fully_connected_s8(layer, input, output);
    }
    return REPEDGE_OK;
}

#endif
