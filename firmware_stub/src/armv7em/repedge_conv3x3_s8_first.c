/* 3x3 convolution for any number of input channels, made for the few of a first layer.
 *
 * A converted row holds for each pair of pixels the whole window of a kernel row: 3 * channels
 * values, on end in (kx, i) order, two to a word, the last one beside a zero where they are odd. */
#include "repedge_dsp.h"
#include "repedge_kernels.h"

enum { PIXELS = 2 };

static inline uint32_t row_pairs(const repedge_layer_t *layer)
{
    return (3u * layer->input.channels + 1u) / 2u;
}

/* Two values of a window that begins at column `column` - 1, from value `k` on. */
static inline uint32_t window_pair(const repedge_layer_t *layer, const int8_t *input_row,
                                   uint32_t column, uint32_t k)
{
    const int32_t channels = layer->input.channels;
    const int32_t from = ((int32_t)column - 1) * channels;
    const int32_t end = layer->input.width * channels;
    int32_t values[2];
    for (int32_t lane = 0; lane < 2; ++lane) {
        const int32_t at = from + (int32_t)k + lane;
        const int inside = (int32_t)k + lane < 3 * channels && at >= 0 && at < end;
        values[lane] = inside ? input_row[at] - layer->input_zero_point : 0;
    }
    return repedge_dsp_pack(values[0], values[1]);
}

static void convert_row(const repedge_layer_t *layer, const int8_t *input_row, uint32_t *row)
{
    const uint32_t half = repedge_dsp_half(layer), pairs = row_pairs(layer);
    for (uint32_t x = 0; x < half; ++x) {
        for (uint32_t pair = 0; pair < pairs; ++pair) {
            *row++ = window_pair(layer, input_row, layer->stride * x, 2u * pair);
            *row++ = window_pair(layer, input_row, layer->stride * (x + half), 2u * pair);
        }
    }
}

void repedge_conv3x3_s8_first(const repedge_layer_t *layer, const int8_t *input, int8_t *scratch,
                              int8_t *output)
{
    const repedge_dsp_layout_t layout = {
        .row_pairs = row_pairs(layer),
        .step_bytes = row_pairs(layer) * PIXELS * (uint32_t)sizeof(uint32_t),
        .row_words = repedge_dsp_half(layer) * row_pairs(layer) * PIXELS,
        .convert = convert_row,
    };
    repedge_dsp_convolve(layer, &layout, input, scratch, output);
}
