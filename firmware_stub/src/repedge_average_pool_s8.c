#include "repedge_kernels.h"

/* sum / count, half away from zero */
static inline int32_t rounded_mean(int32_t sum, int32_t count)
{
    return sum < 0 ? -((-sum + count / 2) / count) : (sum + count / 2) / count;
}

void repedge_average_pool_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output)
{
    const uint32_t channels = layer->input.channels;
    const uint32_t count = (uint32_t)layer->input.height * layer->input.width;
    for (uint32_t channel = 0; channel < channels; ++channel) {
        int32_t sum = 0;
        for (uint32_t pixel = 0; pixel < count; ++pixel) {
            sum += input[(size_t)pixel * channels + channel];
        }
        output[channel] = (int8_t)rounded_mean(sum, (int32_t)count);
    }
}
