/* Fully connected for MVE: a row of weights is decoded sixteen at a time and used at once. Takes
 * the portable one's place. */
#include "repedge_kernels.h"
#include "repedge_mve.h"
#include "repedge_requantize.h"
#include "repedge_unpack.h"

enum { LANES = REPEDGE_MVE_LANES };

/* sum of (input[i] - zero_point) * weight[i] over one packed row */
static int32_t dot_row(const repedge_layer_t *layer, const uint8_t *row, const int8_t *input)
{
    const uint32_t channels = layer->input.channels, bit_width = layer->bit_width;
    const uint8x16_t lane_bits = vmulq_n_u8(vidupq_n_u8(0u, 1), (uint8_t)bit_width);
    const repedge_mve_places_t places = repedge_mve_places(lane_bits, bit_width);
    int32_t products = 0, weights = 0;
    for (uint32_t i = 0; i < channels; i += LANES) {
        const mve_pred16_t inside = vctp8q(channels - i);
        const int8x16_t vector =
            repedge_mve_decode_inside(row, places, bit_width, layer->codebook, inside);
        products = vmladavaq_s8(products, vector, vldrbq_z_s8(input + i, inside));
        weights = vaddvaq_s8(weights, vector);
        row += LANES * bit_width / 8u;
    }
    return products - layer->input_zero_point * weights;
}

void repedge_fully_connected_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output)
{
    const size_t row_bytes = repedge_row_bytes(layer->input.channels, layer->bit_width);
    for (uint32_t channel = 0; channel < layer->output.channels; ++channel) {
        const int32_t sum = dot_row(layer, layer->indices + channel * row_bytes, input);
        const int32_t accumulator = repedge_add_bias(sum, layer->bias[channel]);
        const uint32_t place = repedge_scale_place(layer, channel);
        const int32_t value =
            repedge_requantize(accumulator, layer->multiplier[place], layer->shift[place]);
        output[channel] =
            repedge_clamp_s8(value, layer->output_zero_point, layer->clamp_min, layer->clamp_max);
    }
}
