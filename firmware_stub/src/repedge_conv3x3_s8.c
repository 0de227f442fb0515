/* Portable 3x3 convolution: decode the weights of four output channels once, then walk the pixels.
 *
 * The strip is interleaved, weights[4 * k + channel] with k in (ky, kx, i) order, so that one input
 * value feeds four accumulators and the three taps of a kernel row are one run of memory. */
#include "repedge_kernels.h"
#include "repedge_requantize.h"
#include "repedge_unpack.h"

enum { STRIP = REPEDGE_STRIP_CHANNELS };

/* Taps of the kernel that lie inside the image along one axis: first <= tap < end. */
typedef struct {
    uint32_t first;
    uint32_t end;
} taps_t;

static inline taps_t taps_inside(uint32_t start_plus_one, uint32_t size)
{
    const uint32_t inside = size + 1u - start_plus_one;
    const taps_t taps = {start_plus_one == 0u ? 1u : 0u, inside < 3u ? inside : 3u};
    return taps;
}

/* Decode output channels first_channel .. first_channel + STRIP - 1; those past the last are zero.
 */
static void decode_strip(const repedge_layer_t *layer, uint32_t first_channel, int8_t *weights)
{
    const size_t count = 9u * (size_t)layer->input.channels;
    const size_t row_bytes = repedge_row_bytes(count, layer->bit_width);
    for (uint32_t lane = 0; lane < STRIP; ++lane) {
        const uint32_t channel = first_channel + lane;
        if (channel >= layer->output.channels) {
            for (size_t k = 0; k < count; ++k) {
                weights[STRIP * k + lane] = 0;
            }
            continue;
        }
        repedge_bit_reader_t reader = {layer->indices + channel * row_bytes, 0u, 0u};
        for (size_t k = 0; k < count; ++k) {
            weights[STRIP * k + lane] = (int8_t)repedge_next_weight(&reader, layer);
        }
    }
}

/* sums[lane] += (input[k] - zero_point) * weights[k][lane]: |sums| stays below 2^31, the tables'
 * writer checks it. */
static inline void multiply_accumulate(const int8_t *input, const int8_t *weights, size_t count,
                                       int32_t zero_point, int32_t sums[STRIP])
{
    int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];
    for (size_t k = 0; k < count; ++k) {
        const int32_t value = input[k] - zero_point;
        sum0 += value * weights[STRIP * k];
        sum1 += value * weights[STRIP * k + 1u];
        sum2 += value * weights[STRIP * k + 2u];
        sum3 += value * weights[STRIP * k + 3u];
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* Requantize the strip's sums of one pixel and store those channels that exist. */
static inline void store_pixel(const repedge_layer_t *layer, uint32_t first_channel,
                               const int32_t sums[STRIP], int8_t *output)
{
    for (uint32_t lane = 0; lane < STRIP; ++lane) {
        const uint32_t channel = first_channel + lane;
        if (channel >= layer->output.channels) {
            return;
        }
        const int32_t accumulator = repedge_add_bias(sums[lane], layer->bias[channel]);
        const int32_t value =
            repedge_requantize(accumulator, layer->multiplier[channel], layer->shift[channel]);
        output[channel] =
            repedge_clamp_s8(value, layer->output_zero_point, layer->clamp_min, layer->clamp_max);
    }
}

static void convolve_strip(const repedge_layer_t *layer, const int8_t *input, const int8_t *weights,
                           uint32_t first_channel, int8_t *output)
{
    const uint32_t channels = layer->input.channels;
    const size_t input_row = (size_t)layer->input.width * channels;
    for (uint32_t y = 0; y < layer->output.height; ++y) {
        const taps_t ky = taps_inside(y * layer->stride, layer->input.height);
        for (uint32_t x = 0; x < layer->output.width; ++x) {
            const taps_t kx = taps_inside(x * layer->stride, layer->input.width);
            /* + first - 1 because of the padding: never negative, since first is 1 at the border */
            const size_t column = ((size_t)x * layer->stride + kx.first - 1u) * channels;
            const size_t count = (size_t)(kx.end - kx.first) * channels;
            int32_t sums[STRIP] = {0};
            for (uint32_t tap = ky.first; tap < ky.end; ++tap) {
                const size_t row = (size_t)y * layer->stride + tap - 1u;
                multiply_accumulate(input + row * input_row + column,
                                    weights + STRIP * (3u * tap + kx.first) * channels, count,
                                    layer->input_zero_point, sums);
            }
            store_pixel(layer, first_channel, sums, output);
            output += layer->output.channels;
        }
    }
}

repedge_status_t repedge_conv3x3_s8(const repedge_layer_t *layer, const int8_t *input,
                                    int8_t *scratch, int8_t *output)
{
    if (layer->scratch_bytes < REPEDGE_CONV3X3_SCRATCH_BYTES(layer->input.channels)) {
        return REPEDGE_SMALL_SCRATCH;
    }
    for (uint32_t channel = 0; channel < layer->output.channels; channel += STRIP) {
        decode_strip(layer, channel, scratch);
        convolve_strip(layer, input, scratch, channel, output);
    }
    return REPEDGE_OK;
}
