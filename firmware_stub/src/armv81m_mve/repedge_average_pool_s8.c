/* Global average for MVE: four channels at a time, summed in 32 bits. Takes the portable one's
 * place. */
#include <arm_mve.h>

#include "repedge_kernels.h"

enum { LANES = 4 };

/* sum / count, half away from zero */
static inline int32_t rounded_mean(int32_t sum, int32_t count)
{
    return sum < 0 ? -((-sum + count / 2) / count) : (sum + count / 2) / count;
}

static int32x4_t sum_pixels(const int8_t *input, uint32_t count, uint32_t channels,
                            mve_pred16_t inside)
{
    int32x4_t sums = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (uint32_t pixel = 0; pixel < count; ++pixel) {
        sums = vaddq_s32(sums, vldrbq_z_s32(input, inside));
        input += channels;
    }
    return sums;
}

void repedge_average_pool_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output)
{
    const uint32_t channels = layer->input.channels;
    const uint32_t count = (uint32_t)layer->input.height * layer->input.width;
    for (uint32_t first = 0; first < channels; first += LANES) {
        const mve_pred16_t inside = vctp32q(channels - first);
        int32_t sums[LANES];
        vst1q_s32(sums, sum_pixels(input + first, count, channels, inside));
        for (uint32_t lane = 0; lane < LANES && first + lane < channels; ++lane) {
            output[first + lane] = (int8_t)rounded_mean(sums[lane], (int32_t)count);
        }
    }
}
