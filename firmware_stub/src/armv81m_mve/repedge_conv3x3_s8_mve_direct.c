/* 3x3 convolution for MVE, any number of input channels.
 *
 * Scratch: the strip, then a ring of three padded input rows. A row lies group by group, sixteen
 * channels of each column together, so that columns are sixteen bytes apart whatever the number of
 * channels:
 *
 *     ring[row % 3][group][column][16]      column 0 is the left padding
 *
 * With 4-bit indices and channels in thirty-twos, two groups share thirty-two channels, the even
 * and the odd ones, because sixteen bytes of indices fall apart that way.
 *
 * Lanes past the last channel hold anything; their weights are zero. The padding holds the input's
 * zero point, so that one corrected bias serves every pixel: sum (x - z) w = sum x w - z sum w. */
#include "repedge_kernels.h"
#include "repedge_mve.h"
#include "repedge_unpack.h"

enum { LANES = REPEDGE_MVE_LANES, PAIR = REPEDGE_MVE_PAIR };
enum { SEGMENT_BYTES = REPEDGE_MVE_SEGMENT_BYTES };

typedef struct {
    int8_t *rows;       /* three of them */
    uint32_t groups;    /* of sixteen channels */
    uint32_t columns;   /* of a row that the tiles read */
    uint32_t row_bytes; /* of one padded row */
    uint32_t loaded;    /* padded rows loaded so far; padded row 0 is the top padding */
} ring_t;

static inline uint32_t pair_bytes(uint32_t groups)
{
    return groups * SEGMENT_BYTES + (uint32_t)sizeof(repedge_mve_block_t);
}

static ring_t ring_in(const repedge_layer_t *layer, int8_t *memory)
{
    const uint32_t groups = (layer->input.channels + LANES - 1u) / LANES;
    const uint32_t columns = repedge_mve_columns(layer);
    const ring_t ring = {memory, groups, columns, groups * columns * LANES, 0u};
    return ring;
}

static inline int8_t *padded_row(const ring_t *ring, uint32_t row)
{
    return ring->rows + row % 3u * ring->row_bytes;
}

static void fill(int8_t *bytes, uint32_t vectors, int8_t value)
{
    for (uint32_t k = 0; k < vectors; ++k) {
        vstrbq_s8(bytes + k * LANES, vdupq_n_s8(value));
    }
}

/* Sixteen channels of each pixel of one row. */
static void copy_group(int8_t *columns, const int8_t *pixels, uint32_t count, uint32_t channels)
{
#pragma GCC unroll 4
    for (uint32_t x = 0; x < count; ++x) {
        vstrbq_s8(columns, vldrbq_s8(pixels));
        columns += LANES;
        pixels += channels;
    }
}

/* The last channels of each pixel, where they are fewer than sixteen. */
static void copy_tail(int8_t *columns, const int8_t *pixels, uint32_t count, uint32_t channels,
                      uint32_t tail)
{
    const mve_pred16_t inside = vctp8q(tail);
    for (uint32_t x = 0; x < count; ++x) {
        vstrbq_s8(columns, vldrbq_z_s8(pixels, inside));
        columns += LANES;
        pixels += channels;
    }
}

/* Even and odd ones of thirty-two channels of each pixel of one row, as two groups. In assembly,
 * because gcc 12 gives vld2q an addressing mode that its assembler refuses. */
static void copy_split(int8_t *even, int8_t *odd, const int8_t *pixels, uint32_t count,
                       uint32_t channels)
{
#pragma GCC unroll 4
    for (uint32_t x = 0; x < count; ++x) {
        __asm volatile("vld20.8 {q0, q1}, [%[from]]\n\t"
                       "vld21.8 {q0, q1}, [%[from]]\n\t"
                       "vstrb.8 q0, [%[even]], #16\n\t"
                       "vstrb.8 q1, [%[odd]], #16"
                       : [even] "+r"(even), [odd] "+r"(odd)
                       : [from] "r"(pixels)
                       : "q0", "q1", "memory");
        pixels += channels;
    }
}

/* One image row, to column 0 of the first group. */
static void copy_row(const ring_t *ring, const repedge_layer_t *layer, const int8_t *pixels,
                     int8_t *columns)
{
    const uint32_t width = layer->input.width, channels = layer->input.channels;
    const uint32_t group_bytes = ring->columns * LANES;
    if (repedge_mve_splits_nibbles(layer)) {
        for (uint32_t i = 0; i < channels; i += 2u * LANES) {
            copy_split(columns, columns + group_bytes, pixels + i, width, channels);
            columns += 2u * group_bytes;
        }
        return;
    }
    uint32_t i = 0;
    for (; i + LANES <= channels; i += LANES) {
        copy_group(columns, pixels + i, width, channels);
        columns += group_bytes;
    }
    if (i < channels) {
        copy_tail(columns, pixels + i, width, channels, channels - i);
    }
}

/* The next padded row, from the image or from the padding above and below it. */
static void load_row(ring_t *ring, const repedge_layer_t *layer, const int8_t *input)
{
    const uint32_t width = layer->input.width;
    int8_t *const row = padded_row(ring, ring->loaded);
    const uint32_t y = ring->loaded++ - 1u;
    if (y >= layer->input.height) { /* row -1 wraps to a large one */
        fill(row, ring->groups * ring->columns, layer->input_zero_point);
        return;
    }
    for (uint32_t group = 0; group < ring->groups; ++group) {
        int8_t *const columns = row + group * ring->columns * LANES;
        fill(columns, 1u, layer->input_zero_point);
        fill(columns + (1u + width) * LANES, ring->columns - 1u - width, layer->input_zero_point);
    }
    copy_row(ring, layer, input + (size_t)y * width * layer->input.channels, row + LANES);
}

/* Weights and blocks of output channels first .. first + count - 1; a missing second one of the
 * last pair repeats the first and is never stored. */
static void decode_strip(const repedge_layer_t *layer, uint32_t first, uint32_t count,
                         uint32_t groups, int8_t *strip)
{
    const size_t row_bytes =
        repedge_row_bytes((size_t)REPEDGE_MVE_TAPS * layer->input.channels, layer->bit_width);
    for (uint32_t k = 0; k < count; k += PAIR) {
        int8_t *const pair = strip + k / PAIR * pair_bytes(groups);
        repedge_mve_block_t *const block = (repedge_mve_block_t *)(pair + groups * SEGMENT_BYTES);
        block->output_zero_point = layer->output_zero_point;
        for (uint32_t lane = 0; lane < PAIR; ++lane) {
            const uint32_t channel = first + (k + lane < count ? k + lane : k);
            const uint8_t *const packed = layer->indices + channel * row_bytes;
            const int32_t sum = repedge_mve_decode_channel(layer, packed, pair + lane * LANES);
            repedge_mve_fill_block(block, lane, layer, channel, sum);
        }
    }
}

static repedge_mve_loops_t loops_of(const repedge_layer_t *layer, uint32_t groups)
{
    const bool one = layer->stride == 1u;
    repedge_mve_tiles_t *const checked =
        one ? repedge_mve_stride1_checked : repedge_mve_stride2_checked;
    repedge_mve_tiles_t *plain = one ? repedge_mve_stride1_plain : repedge_mve_stride2_plain;
    if (groups == 1u) {
        plain = one ? repedge_mve_stride1_plain_16 : repedge_mve_stride2_plain_16;
    }
    const repedge_mve_loops_t loops = {
        .whole = repedge_mve_is_plain(layer) ? plain : checked,
        .edge = checked,
        .pixel_bytes = LANES * layer->stride,
        .pair_bytes = pair_bytes(groups),
    };
    return loops;
}

/* All rows of output channels first .. first + count - 1. */
static void convolve_strip(const repedge_layer_t *layer, const int8_t *input, ring_t ring,
                           const int8_t *strip, uint32_t count, int8_t *output)
{
    const repedge_mve_loops_t loops = loops_of(layer, ring.groups);
    repedge_mve_run_t run = repedge_mve_run(layer);
    run.groups = ring.groups;
    run.group_bytes = ring.columns * LANES;
    run.weights = strip;
    run.output = output;
    for (uint32_t y = 0; y < layer->output.height; ++y) {
        const uint32_t top = y * layer->stride;
        while (ring.loaded < top + 3u) {
            load_row(&ring, layer, input);
        }
        for (uint32_t k = 0; k < 3u; ++k) {
            run.rows[k] = padded_row(&ring, top + k);
        }
        repedge_mve_run_row(&run, &loops, layer->output.width, count);
        run.output += (size_t)layer->output.width * layer->output.channels;
    }
}

repedge_status_t repedge_conv3x3_s8_mve_direct(const repedge_layer_t *layer, const int8_t *input,
                                               int8_t *scratch, int8_t *output)
{
    const uint32_t strip_channels = layer->strip_channels, channels = layer->output.channels;
    ring_t ring = ring_in(layer, scratch);
    const uint32_t strip_bytes = (strip_channels + 1u) / PAIR * pair_bytes(ring.groups);
    if (strip_bytes + 3u * ring.row_bytes > layer->scratch_bytes) {
        return REPEDGE_SMALL_SCRATCH;
    }
    ring.rows = scratch + strip_bytes;
    for (uint32_t first = 0; first < channels; first += strip_channels) {
        const uint32_t rest = channels - first;
        const uint32_t count = rest < strip_channels ? rest : strip_channels;
        decode_strip(layer, first, count, ring.groups, scratch);
        convolve_strip(layer, input, ring, scratch, count, output + first);
    }
    return REPEDGE_OK;
}
