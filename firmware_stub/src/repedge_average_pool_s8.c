#include "repedge_kernels.h"

enum { LANES = 4 }; /* channels summed in one walk over the pixels */

/* sum / count, half away from zero */
static inline int32_t rounded_mean(int32_t sum, int32_t count)
{
    return sum < 0 ? -((-sum + count / 2) / count) : (sum + count / 2) / count;
}

/* Means of `lanes` channels, from the first one's first value on. */
static inline void average_channels(const int8_t *input, uint32_t count, size_t channels,
                                    uint32_t lanes, int8_t *output)
{
    int32_t sums[LANES] = {0};
    for (uint32_t pixel = 0; pixel < count; ++pixel) {
#pragma GCC unroll 4
        for (uint32_t lane = 0; lane < lanes; ++lane) {
            sums[lane] += input[lane];
        }
        input += channels;
    }
    for (uint32_t lane = 0; lane < lanes; ++lane) {
        output[lane] = (int8_t)rounded_mean(sums[lane], (int32_t)count);
    }
}

void repedge_average_pool_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output)
{
    const uint32_t channels = layer->input.channels;
    const uint32_t count = (uint32_t)layer->input.height * layer->input.width;
    uint32_t channel = 0;
    for (; channel + LANES <= channels; channel += LANES) {
        average_channels(input + channel, count, channels, LANES, output + channel);
    }
    for (; channel < channels; ++channel) {
        average_channels(input + channel, count, channels, 1u, output + channel);
    }
}
