/* Decoding the weights of one output channel for repedge_conv3x3_s8_mve_direct. */
#include "repedge_mve.h"

enum { LANES = REPEDGE_MVE_LANES, PAIR = REPEDGE_MVE_PAIR, TAPS = REPEDGE_MVE_TAPS };
enum { SEGMENT_BYTES = REPEDGE_MVE_SEGMENT_BYTES };

static inline void store_tap(int8_t *weights, uint32_t tap, int8x16_t vector)
{
    vstrwq_s32((int32_t *)(void *)(weights + tap * PAIR * LANES), vreinterpretq_s32_s8(vector));
}

/* Weights of one channel whose input channels come in sixteens, to every second vector of the
 * strip; returns their sum. `spans`: an index may lie in two bytes. */
static inline __attribute__((always_inline)) int32_t
decode_whole(const repedge_layer_t *layer, const uint8_t *packed, bool spans, int8_t *weights)
{
    const uint32_t bit_width = layer->bit_width;
    const uint8x16_t lane_bits = vmulq_n_u8(vidupq_n_u8(0u, 1), (uint8_t)bit_width);
    const repedge_mve_places_t places = repedge_mve_places(lane_bits, bit_width);
    const uint32_t groups = layer->input.channels / LANES, group_bytes = LANES * bit_width / 8u;
    const int8_t *const codebook = layer->codebook;
    int32_t sum = 0;
    for (uint32_t group = 0; group < groups; ++group) {
        const uint8_t *from = packed + group * group_bytes;
#pragma GCC unroll 9
        for (uint32_t tap = 0; tap < TAPS; ++tap) {
            const int8x16_t vector = repedge_mve_decode(from, places, bit_width, spans, codebook);
            store_tap(weights, tap, vector);
            sum = vaddvaq_s8(sum, vector);
            from += groups * group_bytes;
        }
        weights += SEGMENT_BYTES;
    }
    return sum;
}

/* The same where the bytes are the weights. */
static int32_t decode_plain(const repedge_layer_t *layer, const uint8_t *packed, int8_t *weights)
{
    const uint32_t channels = layer->input.channels;
    int32_t sum = 0;
    for (uint32_t i = 0; i < channels; i += LANES) {
        const int8_t *from = (const int8_t *)packed + i;
        for (uint32_t tap = 0; tap < TAPS; ++tap) {
            const int8x16_t vector = vldrbq_s8(from);
            store_tap(weights, tap, vector);
            sum = vaddvaq_s8(sum, vector);
            from += channels;
        }
        weights += SEGMENT_BYTES;
    }
    return sum;
}

/* The same where repedge_mve_splits_nibbles. */
static int32_t decode_split(const repedge_layer_t *layer, const uint8_t *packed, int8_t *weights)
{
    const uint32_t tap_bytes = layer->input.channels / 2u;
    const int8_t *const codebook = layer->codebook;
    int32_t sum = 0;
    for (uint32_t at = 0; at < tap_bytes; at += LANES) {
        const uint8_t *from = packed + at;
        int8_t *const odd = weights + SEGMENT_BYTES;
#pragma GCC unroll 9
        for (uint32_t tap = 0; tap < TAPS; ++tap) {
            const uint8x16_t indices = vldrbq_u8(from);
            const uint8x16_t low = vandq_u8(indices, vdupq_n_u8(15));
            const int8x16_t evens = vldrbq_gather_offset_s8(codebook, low);
            const int8x16_t odds = vldrbq_gather_offset_s8(codebook, vshrq_n_u8(indices, 4));
            store_tap(weights, tap, evens);
            store_tap(odd, tap, odds);
            sum = vaddvaq_s8(vaddvaq_s8(sum, evens), odds);
            from += tap_bytes;
        }
        weights += 2 * SEGMENT_BYTES;
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

int32_t repedge_mve_decode_channel(const repedge_layer_t *layer, const uint8_t *packed,
                                   int8_t *weights)
{
    if (layer->input.channels % LANES != 0u) {
        return decode_any(layer, packed, weights);
    }
    if (layer->bit_width == REPEDGE_PLAIN_BITS) {
        return decode_plain(layer, packed, weights);
    }
    if (repedge_mve_splits_nibbles(layer)) {
        return decode_split(layer, packed, weights);
    }
    return 8u % layer->bit_width == 0u ? decode_whole(layer, packed, false, weights)
                                       : decode_whole(layer, packed, true, weights);
}
