#include "repedge_kernels.h"
#include "repedge_requantize.h"
#include "repedge_unpack.h"

/* sum of (input[i] - zero_point) * weight[i] over one row whose bytes are the weights */
static int32_t dot_bytes(const repedge_layer_t *layer, const uint8_t *row, const int8_t *input)
{
    const int8_t *const weights = (const int8_t *)row;
    const int32_t zero_point = layer->input_zero_point;
    int32_t sum = 0;
    for (uint32_t i = 0; i < layer->input.channels; ++i) {
        sum += (input[i] - zero_point) * weights[i];
    }
    return sum;
}

/* The same over a packed row of any bit width. */
static int32_t dot_row(const repedge_layer_t *layer, const uint8_t *row, const int8_t *input)
{
    repedge_bit_reader_t reader = {row, 0u, 0u};
    int32_t sum = 0;
    for (uint32_t i = 0; i < layer->input.channels; ++i) {
        sum += (input[i] - layer->input_zero_point) * repedge_next_weight(&reader, layer);
    }
    return sum;
}

void repedge_fully_connected_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output)
{
    const size_t row_bytes = repedge_row_bytes(layer->input.channels, layer->bit_width);
    for (uint32_t channel = 0; channel < layer->output.channels; ++channel) {
        const uint8_t *const row = layer->indices + channel * row_bytes;
        const int32_t sum = layer->bit_width == REPEDGE_PLAIN_BITS ? dot_bytes(layer, row, input)
                                                                   : dot_row(layer, row, input);
        const int32_t accumulator = repedge_add_bias(sum, layer->bias[channel]);
        const int32_t value =
            repedge_requantize(accumulator, layer->multiplier[channel], layer->shift[channel]);
        output[channel] =
            repedge_clamp_s8(value, layer->output_zero_point, layer->clamp_min, layer->clamp_max);
    }
}
