/* 3x3 convolution for MVE, any number of input channels.
 *
 * Scratch: the strip, then a ring of three padded input rows. A row lies group by group, sixteen
 * channels of each column together, so that columns are sixteen bytes apart whatever the number of
 * channels:
 *
 *     ring[row % 3][group][column][16]      column 0 is the left padding
 *
 * Lanes past the last channel hold anything; their weights are zero. The padding holds the input's
 * zero point, so that one corrected bias serves every pixel: sum (x - z) w = sum x w - z sum w. */
#include "repedge_kernels.h"
#include "repedge_mve.h"
#include "repedge_unpack.h"

enum { LANES = REPEDGE_MVE_LANES, PAIR = REPEDGE_MVE_PAIR, PIXELS = REPEDGE_MVE_PIXELS };
enum { TAPS = 9, SEGMENT_BYTES = TAPS * PAIR * LANES }; /* weights of a pair and a group */

typedef struct {
    int8_t *rows;       /* three of them */
    uint32_t groups;    /* of sixteen channels */
    uint32_t columns;   /* of a row that the tiles read */
    uint32_t row_bytes; /* of one padded row */
    uint32_t loaded;    /* padded rows loaded so far; padded row 0 is the top padding */
} ring_t;

static inline uint32_t tiles_per_row(const repedge_layer_t *layer)
{
    return (layer->output.width + PIXELS - 1u) / PIXELS;
}

static inline uint32_t pair_bytes(uint32_t groups)
{
    return groups * SEGMENT_BYTES + (uint32_t)sizeof(repedge_mve_block_t);
}

static ring_t ring_in(const repedge_layer_t *layer, int8_t *memory)
{
    const uint32_t groups = (layer->input.channels + LANES - 1u) / LANES;
    const uint32_t columns = layer->stride * (tiles_per_row(layer) * PIXELS - 1u) + 3u;
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

/* The next padded row, from the image or from the padding above and below it. */
static void load_row(ring_t *ring, const repedge_layer_t *layer, const int8_t *input)
{
    const uint32_t width = layer->input.width, channels = layer->input.channels;
    int8_t *row = padded_row(ring, ring->loaded);
    const uint32_t y = ring->loaded++ - 1u;
    if (y >= layer->input.height) { /* row -1 wraps to a large one */
        fill(row, ring->groups * ring->columns, layer->input_zero_point);
        return;
    }
    const int8_t *pixels = input + (size_t)y * width * channels;
    for (uint32_t group = 0; group < ring->groups; ++group) {
        fill(row, 1u, layer->input_zero_point);
        const uint32_t remaining = channels - group * LANES;
        if (remaining >= LANES) {
            copy_group(row + LANES, pixels + group * LANES, width, channels);
        } else {
            copy_tail(row + LANES, pixels + group * LANES, width, channels, remaining);
        }
        fill(row + (1u + width) * LANES, ring->columns - 1u - width, layer->input_zero_point);
        row += ring->columns * LANES;
    }
}

/* Weights of one channel whose input channels come in sixteens, to every second vector of the
 * strip; returns their sum. */
static inline __attribute__((always_inline)) int32_t decode_whole(const repedge_layer_t *layer,
                                                                  const uint8_t *packed,
                                                                  uint32_t bit_width,
                                                                  int8_t *weights)
{
    const uint8x16_t lane_bits = vmulq_n_u8(vidupq_n_u8(0u, 1), (uint8_t)bit_width);
    const repedge_mve_places_t places = repedge_mve_places(lane_bits, bit_width);
    const uint32_t groups = layer->input.channels / LANES, group_bytes = LANES * bit_width / 8u;
    const int8_t *const codebook = layer->codebook;
    int32_t sum = 0;
    for (uint32_t group = 0; group < groups; ++group) {
        const uint8_t *from = packed + group * group_bytes;
#pragma GCC unroll 9
        for (uint32_t tap = 0; tap < TAPS; ++tap) {
            const int8x16_t vector = repedge_mve_decode(from, places, bit_width, codebook);
            vstrwq_s32((int32_t *)(void *)(weights + tap * PAIR * LANES),
                       vreinterpretq_s32_s8(vector));
            sum = vaddvaq_s8(sum, vector);
            from += groups * group_bytes;
        }
        weights += SEGMENT_BYTES;
    }
    return sum;
}

/* The same for any number of input channels; the last group's missing weights are zero. */
static int32_t decode_any(const repedge_layer_t *layer, const uint8_t *packed, int8_t *weights)
{
    const uint32_t channels = layer->input.channels, bit_width = layer->bit_width;
    const uint8x16_t lane_bits = vmulq_n_u8(vidupq_n_u8(0u, 1), (uint8_t)bit_width);
    int32_t sum = 0;
    for (uint32_t tap = 0; tap < TAPS; ++tap) {
        int8_t *to = weights + tap * PAIR * LANES;
        for (uint32_t i = 0; i < channels; i += LANES) {
            const uint32_t bit = (tap * channels + i) * bit_width;
            const repedge_mve_places_t places =
                repedge_mve_places(vaddq_n_u8(lane_bits, (uint8_t)(bit % 8u)), bit_width);
            const int8x16_t vector = repedge_mve_decode_inside(
                packed + bit / 8u, places, bit_width, layer->codebook, vctp8q(channels - i));
            sum = vaddvaq_s8(sum, vector);
            vstrbq_s8(to, vector);
            to += SEGMENT_BYTES;
        }
    }
    return sum;
}

/* The common bit widths get loops of their own. */
static int32_t decode_channel(const repedge_layer_t *layer, const uint8_t *packed, int8_t *weights)
{
    if (layer->input.channels % LANES != 0u) {
        return decode_any(layer, packed, weights);
    }
    switch (layer->bit_width) {
    case 2:
        return decode_whole(layer, packed, 2u, weights);
    case 3:
        return decode_whole(layer, packed, 3u, weights);
    case 4:
        return decode_whole(layer, packed, 4u, weights);
    case 8:
        return decode_whole(layer, packed, 8u, weights);
    default:
        return decode_whole(layer, packed, layer->bit_width, weights);
    }
}

/* Weights and blocks of output channels first .. first + count - 1; a missing second one of the
 * last pair repeats the first and is never stored. */
static void decode_strip(const repedge_layer_t *layer, uint32_t first, uint32_t count,
                         uint32_t groups, int8_t *strip)
{
    const size_t row_bytes =
        repedge_row_bytes((size_t)TAPS * layer->input.channels, layer->bit_width);
    for (uint32_t k = 0; k < count; k += PAIR) {
        int8_t *const pair = strip + k / PAIR * pair_bytes(groups);
        repedge_mve_block_t *const block = (repedge_mve_block_t *)(pair + groups * SEGMENT_BYTES);
        block->output_zero_point = layer->output_zero_point;
        for (uint32_t lane = 0; lane < PAIR; ++lane) {
            const uint32_t channel = first + (k + lane < count ? k + lane : k);
            const uint8_t *const packed = layer->indices + channel * row_bytes;
            const int32_t sum = decode_channel(layer, packed, pair + lane * LANES);
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
        .tile_bytes = PIXELS * LANES * layer->stride,
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

void repedge_conv3x3_s8_mve_direct(const repedge_layer_t *layer, const int8_t *input,
                                   int8_t *scratch, int8_t *output)
{
    const uint32_t strip_channels = layer->strip_channels, channels = layer->output.channels;
    ring_t ring = ring_in(layer, scratch);
    ring.rows = scratch + (strip_channels + 1u) / PAIR * pair_bytes(ring.groups);
    for (uint32_t first = 0; first < channels; first += strip_channels) {
        const uint32_t rest = channels - first;
        const uint32_t count = rest < strip_channels ? rest : strip_channels;
        decode_strip(layer, first, count, ring.groups, scratch);
        convolve_strip(layer, input, ring, scratch, count, output + first);
    }
}
