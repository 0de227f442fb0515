/* What the MVE kernels share: the frame of their assembly loops, and decoding sixteen weights at a
 * time.
 *
 * A tile is 2 output channels x 4 pixels of one output row, eight sums in the eight even registers
 * that VMLADAVA can add into. Weights of a pair of channels lie as the tile reads them, followed by
 * the pair's repedge_mve_block_t. */
#ifndef REPEDGE_MVE_H
#define REPEDGE_MVE_H

#include <arm_mve.h>
#include <stdbool.h>
#include <stddef.h>

#include "repedge_model.h"

/* Pixels and channels of a tile, int8 lanes of a vector, taps of a kernel. */
#define REPEDGE_MVE_PIXELS 4u
#define REPEDGE_MVE_PAIR 2u
#define REPEDGE_MVE_LANES 16u
#define REPEDGE_MVE_TAPS 9u

/* Weights of a pair of output channels and a group of sixteen input channels:
 * [tap][channel of the pair][16]. */
#define REPEDGE_MVE_SEGMENT_BYTES (REPEDGE_MVE_TAPS * REPEDGE_MVE_PAIR * REPEDGE_MVE_LANES)

/* What becomes of one channel's sums. */
typedef struct {
    int32_t bias; /* bias - input zero point * sum of the channel's weights, modulo 2^32 */
    int32_t multiplier;
    int32_t right; /* shift where it is negative, else 0 */
} repedge_mve_channel_t;

/* What becomes of a pair's sums. */
typedef struct {
    int32_t output_zero_point;
    repedge_mve_channel_t channels[REPEDGE_MVE_PAIR];
    uint8_t left[REPEDGE_MVE_PAIR];   /* shift where it is positive, else 0 */
    uint8_t rounds[REPEDGE_MVE_PAIR]; /* 1 where right shifts, so that negative values need care */
} repedge_mve_block_t;
_Static_assert(sizeof(repedge_mve_block_t) == 32, "the assembly loads eight words");

/* One run of tiles along an output row. The offsets are known to repedge_mve_tiles.S. */
typedef struct {
    const int8_t *rows[3]; /* input of the first tile: three rows, or one window */
    uint32_t groups;       /* of sixteen input channels */
    uint32_t group_bytes;  /* from one group of a row to the next */
    const int8_t *weights; /* of the first pair */
    int8_t *output;        /* first channel of the first pixel */
    uint32_t pairs;        /* at least 1 */
    uint32_t tiles;        /* at least 1 */
    uint32_t output_step;  /* bytes from tile to tile */
    int32_t clamp_min;     /* these three are for the checked functions only */
    int32_t clamp_max;
    uint32_t mask;              /* which outputs are stored: two bits each, pixel by pixel */
    uint32_t unused;            /* keeps the vector below aligned to 8 */
    uint16_t output_offsets[8]; /* of a tile's outputs, in the mask's order */
} repedge_mve_run_t;
_Static_assert(offsetof(repedge_mve_run_t, output_offsets) == 56, "as repedge_mve_tiles.S has it");

/* The functions of repedge_mve_tiles.S. `plain` ones need shifts <= 0, the clamps of int8 and
 * output zero point -128 and store whole tiles; `checked` ones need none of this. */
typedef void repedge_mve_tiles_t(const repedge_mve_run_t *run);
repedge_mve_tiles_t repedge_mve_stride1_plain, repedge_mve_stride1_plain_16,
    repedge_mve_stride1_checked, repedge_mve_stride2_plain, repedge_mve_stride2_plain_16,
    repedge_mve_stride2_checked;
/* Of windows of 1 or 3 channels instead of three rows. */
repedge_mve_tiles_t repedge_mve_window1_stride1_plain, repedge_mve_window1_stride1_checked,
    repedge_mve_window1_stride2_plain, repedge_mve_window1_stride2_checked,
    repedge_mve_window3_stride1_plain, repedge_mve_window3_stride1_checked,
    repedge_mve_window3_stride2_plain, repedge_mve_window3_stride2_checked;

/* The two functions of a layer: for whole tiles of whole pairs, and for an odd last channel or a
 * row shorter than a tile. */
typedef struct {
    repedge_mve_tiles_t *whole;
    repedge_mve_tiles_t *edge;
    uint32_t pixel_bytes; /* of input from output pixel to output pixel */
    uint32_t pair_bytes;  /* of weights and block */
} repedge_mve_loops_t;

/* The parts of a run that do not depend on the row. */
static inline repedge_mve_run_t repedge_mve_run(const repedge_layer_t *layer)
{
    const uint32_t channels = layer->output.channels;
    repedge_mve_run_t run = {
        .output_step = REPEDGE_MVE_PIXELS * channels,
        .clamp_min = layer->clamp_min,
        .clamp_max = layer->clamp_max,
    };
    for (uint32_t k = 0; k < REPEDGE_MVE_PIXELS * REPEDGE_MVE_PAIR; ++k) {
        run.output_offsets[k] = (uint16_t)(k / REPEDGE_MVE_PAIR * channels + k % REPEDGE_MVE_PAIR);
    }
    return run;
}

/* What is left of a row: its last pixels, its last channel, or both. The last tile overlaps the one
 * before it, whose outputs it gives again. */
static inline void repedge_mve_run_edge(const repedge_mve_run_t *row,
                                        const repedge_mve_loops_t *loops, uint32_t width,
                                        uint32_t channels, bool right_edge, bool odd_channel)
{
    const bool is_short = width < REPEDGE_MVE_PIXELS;
    const uint32_t pairs = channels / REPEDGE_MVE_PAIR;
    repedge_mve_run_t run = *row;
    if (right_edge) {
        const uint32_t first = is_short ? 0u : width - REPEDGE_MVE_PIXELS;
        for (uint32_t k = 0; k < 3u; ++k) {
            run.rows[k] += first * loops->pixel_bytes;
        }
        run.output += first * (run.output_step / REPEDGE_MVE_PIXELS);
        run.tiles = 1u;
        run.mask = is_short ? (1u << 4u * width) - 1u : 0xFFFFu;
    }
    if (odd_channel) {
        run.mask &= 0x3333u;
        run.weights += pairs * loops->pair_bytes;
        run.output += pairs * REPEDGE_MVE_PAIR;
        run.pairs = 1u;
    }
    (is_short || odd_channel ? loops->edge : loops->whole)(&run);
}

/* `channels` output channels of one output row; rows, weights and output of the run are set. */
static inline void repedge_mve_run_row(repedge_mve_run_t *row, const repedge_mve_loops_t *loops,
                                       uint32_t width, uint32_t channels)
{
    const bool right_edge = width % REPEDGE_MVE_PIXELS != 0u;
    const bool odd_channel = channels % REPEDGE_MVE_PAIR != 0u;
    row->tiles = width / REPEDGE_MVE_PIXELS;
    row->pairs = channels / REPEDGE_MVE_PAIR;
    row->mask = 0xFFFFu;
    if (row->tiles != 0u && row->pairs != 0u) {
        loops->whole(row);
    }
    if (right_edge && row->pairs != 0u) {
        repedge_mve_run_edge(row, loops, width, channels, true, false);
    }
    if (odd_channel && row->tiles != 0u) {
        repedge_mve_run_edge(row, loops, width, channels, false, true);
    }
    if (right_edge && odd_channel) {
        repedge_mve_run_edge(row, loops, width, channels, true, true);
    }
}

/* Input columns that the tiles of a row read, padding included. */
static inline uint32_t repedge_mve_columns(const repedge_layer_t *layer)
{
    const uint32_t width = layer->output.width;
    const uint32_t pixels = width < REPEDGE_MVE_PIXELS ? REPEDGE_MVE_PIXELS : width;
    return layer->stride * (pixels - 1u) + 3u;
}

/* Where the bits of sixteen indices lie, relative to a byte. */
typedef struct {
    uint8x16_t low_byte;
    uint8x16_t high_byte;
    int8x16_t right; /* of the low byte, negative */
    int8x16_t left;  /* of the high byte */
} repedge_mve_places_t;

/* Places of indices that start at these bits, at most 255 - bit_width. */
static inline repedge_mve_places_t repedge_mve_places(uint8x16_t bits, uint32_t bit_width)
{
    const int8x16_t in_byte = vreinterpretq_s8_u8(vandq_u8(bits, vdupq_n_u8(7)));
    const repedge_mve_places_t places = {
        .low_byte = vshrq_n_u8(bits, 3),
        .high_byte = vshrq_n_u8(vaddq_n_u8(bits, (uint8_t)(bit_width - 1u)), 3),
        .right = vnegq_s8(in_byte),
        .left = vsubq_s8(vdupq_n_s8(8), in_byte),
    };
    return places;
}

/* Sixteen weights. Where indices may span two bytes, one that ends in the byte it starts in gets
 * that byte a second time as the high one, above its bit_width bits. */
static inline int8x16_t repedge_mve_decode(const uint8_t *bytes, repedge_mve_places_t places,
                                           uint32_t bit_width, bool spans, const int8_t *codebook)
{
    uint8x16_t index = vshlq_u8(vldrbq_gather_offset_u8(bytes, places.low_byte), places.right);
    if (spans) {
        const uint8x16_t high = vldrbq_gather_offset_u8(bytes, places.high_byte);
        index = vorrq_u8(index, vshlq_u8(high, places.left));
    }
    index = vandq_u8(index, vdupq_n_u8((uint8_t)((1u << bit_width) - 1u)));
    return vldrbq_gather_offset_s8(codebook, index);
}

/* As repedge_mve_decode, for the lanes of `inside` only; the others are zero and read nothing. At
 * eight bits, without a codebook, the symbols are the weights. */
static inline int8x16_t repedge_mve_decode_inside(const uint8_t *bytes, repedge_mve_places_t places,
                                                  uint32_t bit_width, const int8_t *codebook,
                                                  mve_pred16_t inside)
{
    const uint8x16_t low = vldrbq_gather_offset_z_u8(bytes, places.low_byte, inside);
    const uint8x16_t high = vldrbq_gather_offset_z_u8(bytes, places.high_byte, inside);
    const uint8x16_t index = vorrq_u8(vshlq_u8(low, places.right), vshlq_u8(high, places.left));
    if (bit_width == REPEDGE_PLAIN_BITS) {
        return vreinterpretq_s8_u8(index);
    }
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bit_width) - 1u));
    return vldrbq_gather_offset_z_s8(codebook, vandq_u8(index, mask), inside);
}

/* Whether groups of input channels are the even and the odd ones of thirty-two. */
static inline bool repedge_mve_splits_nibbles(const repedge_layer_t *layer)
{
    return layer->bit_width == 4u && layer->input.channels % (2u * REPEDGE_MVE_LANES) == 0u;
}

/* The weights of one output channel from its packed row to one channel's places of the strip:
 * segment by segment, every second vector. Returns their sum. */
int32_t repedge_mve_decode_channel(const repedge_layer_t *layer, const uint8_t *packed,
                                   int8_t *weights);

/* The pair's channel `lane` of the block; weight_sum is the sum of its weights. */
static inline void repedge_mve_fill_block(repedge_mve_block_t *block, uint32_t lane,
                                          const repedge_layer_t *layer, uint32_t channel,
                                          int32_t weight_sum)
{
    const int32_t shift = layer->shift[channel];
    const uint32_t offset = (uint32_t)layer->input_zero_point * (uint32_t)weight_sum;
    const repedge_mve_channel_t result = {
        .bias = (int32_t)((uint32_t)layer->bias[channel] - offset),
        .multiplier = layer->multiplier[channel],
        .right = shift < 0 ? shift : 0,
    };
    block->channels[lane] = result;
    block->left[lane] = shift > 0 ? (uint8_t)shift : 0u;
    block->rounds[lane] = shift < 0 ? 1u : 0u;
}

/* Whether the plain functions give the layer's result. Where the lowest output is that of value 0,
 * the rounding of negative values does not matter. */
static inline bool repedge_mve_is_plain(const repedge_layer_t *layer)
{
    bool plain =
        layer->clamp_min == -128 && layer->clamp_max == 127 && layer->output_zero_point == -128;
    for (uint32_t channel = 0; channel < layer->output.channels; ++channel) {
        plain = plain && layer->shift[channel] <= 0;
    }
    return plain;
}

#endif
