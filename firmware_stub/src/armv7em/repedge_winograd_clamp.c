#include "repedge_winograd.h"

#ifdef __ARM_FEATURE_DSP
/* Four outputs in one word, clamped: SSUB8 sets a flag per byte, SEL picks by it. */
static inline uint32_t clamp_word(uint32_t values, uint32_t low, uint32_t high)
{
    uint32_t result;
    __asm__("ssub8 %0, %1, %2\n\t"
            "sel %0, %1, %2\n\t" /* the larger of value and low */
            "ssub8 r12, %3, %0\n\t"
            "sel %0, %0, %3" /* the smaller of that and high */
            : "=&r"(result)
            : "r"(values), "r"(low), "r"(high)
            : "r12", "cc");
    return result;
}

void repedge_winograd_clamp(const repedge_layer_t *layer, int8_t *output)
{
    const uint32_t low = (uint8_t)layer->clamp_min * 0x01010101u;
    const uint32_t high = (uint8_t)layer->clamp_max * 0x01010101u;
    const uint32_t words =
        (uint32_t)layer->output.height * layer->output.width * layer->output.channels / 4u;
    uint32_t *values = (uint32_t *)(void *)output;
    for (uint32_t k = 0; k < words; ++k) {
        values[k] = clamp_word(values[k], low, high);
    }
}
#else
void repedge_winograd_clamp(const repedge_layer_t *layer, int8_t *output)
{
    const uint32_t count =
        (uint32_t)layer->output.height * layer->output.width * layer->output.channels;
    for (uint32_t k = 0; k < count; ++k) {
        if (output[k] < layer->clamp_min) {
            output[k] = layer->clamp_min;
        } else if (output[k] > layer->clamp_max) {
            output[k] = layer->clamp_max;
        }
    }
}
#endif
