/* 3x3 convolution for any number of input channels, made for the few of a first layer.
 *
 * A converted row holds for each pair of pixels the whole window of a kernel row: 3 * channels
 * values, on end in (kx, i) order, two to a word, the last one beside a zero where they are odd.
 * Windows are cut from a line of int16: a column of zeros, the row's values, zeros to its end. */
#include "repedge_dsp.h"
#include "repedge_kernels.h"

enum { PIXELS = 2, THREE_CHANNELS_PAIRS = 5 };

static inline uint32_t row_pairs(const repedge_layer_t *layer)
{
    return (3u * layer->input.channels + 1u) / 2u;
}

/* Bytes of the line: every window of both pixels, and one value more. */
static inline uint32_t line_bytes(const repedge_layer_t *layer)
{
    const uint32_t columns = layer->stride * (2u * repedge_dsp_half(layer) - 1u) + 3u;
    return (2u * (columns * layer->input.channels + 1u) + 3u) & ~3u;
}

static void prepare_line(const repedge_layer_t *layer, int8_t *line)
{
    memset(line, 0, line_bytes(layer));
}

static void fill_line(const repedge_layer_t *layer, const int8_t *input_row, int8_t *line)
{
    const uint32_t count = (uint32_t)layer->input.width * layer->input.channels;
    const uint32_t offset = repedge_dsp_pack(-layer->input_zero_point, -layer->input_zero_point);
    int16_t *values = (int16_t *)(void *)line + layer->input.channels;
    uint32_t k = 0;
    for (; k + 4u <= count; k += 4u) {
        const uint32_t bytes = repedge_dsp_load(input_row + k);
        const uint32_t even = repedge_dsp_even_bytes(offset, bytes);
        const uint32_t odd = repedge_dsp_odd_bytes(offset, bytes);
        repedge_dsp_store(values + k, (even & 0xFFFFu) | odd << 16);
        repedge_dsp_store(values + k + 2u, even >> 16 | (odd & 0xFFFF0000u));
    }
    for (; k < count; ++k) {
        values[k] = (int16_t)(input_row[k] - layer->input_zero_point);
    }
}

/* The windows of two pixels, side by side. */
static inline __attribute__((always_inline)) uint32_t *
cut_windows(const int16_t *window0, const int16_t *window1, uint32_t pairs, uint32_t last_mask,
            uint32_t *row)
{
    for (uint32_t pair = 0; pair + 1u < pairs; ++pair) {
        row[0] = repedge_dsp_load(window0 + 2u * pair);
        row[1] = repedge_dsp_load(window1 + 2u * pair);
        row += PIXELS;
    }
    row[0] = repedge_dsp_load(window0 + 2u * (pairs - 1u)) & last_mask;
    row[1] = repedge_dsp_load(window1 + 2u * (pairs - 1u)) & last_mask;
    return row + PIXELS;
}

static void convert_row(const repedge_layer_t *layer, const int8_t *input_row, int8_t *line,
                        uint32_t *row)
{
    const uint32_t half = repedge_dsp_half(layer), pairs = row_pairs(layer);
    const uint32_t step = (uint32_t)layer->stride * layer->input.channels;
    const uint32_t last_mask = layer->input.channels % 2u != 0u ? 0xFFFFu : 0xFFFFFFFFu;
    const int16_t *window = (const int16_t *)(const void *)line;
    fill_line(layer, input_row, line);
    for (uint32_t x = 0; x < half; ++x) {
        row = pairs == THREE_CHANNELS_PAIRS
                  ? cut_windows(window, window + half * step, THREE_CHANNELS_PAIRS, last_mask, row)
                  : cut_windows(window, window + half * step, pairs, last_mask, row);
        window += step;
    }
}

repedge_status_t repedge_conv3x3_s8_first(const repedge_layer_t *layer, const int8_t *input,
                                          int8_t *scratch, int8_t *output)
{
    const repedge_dsp_layout_t layout = {
        .row_pairs = row_pairs(layer),
        .row_singles = layer->input.channels % 2u,
        .step_bytes = row_pairs(layer) * PIXELS * (uint32_t)sizeof(uint32_t),
        .row_words = repedge_dsp_half(layer) * row_pairs(layer) * PIXELS,
        .border_bytes = line_bytes(layer),
        .prepare = prepare_line,
        .convert = convert_row,
    };
    return repedge_dsp_convolve(layer, &layout, input, scratch, output);
}
