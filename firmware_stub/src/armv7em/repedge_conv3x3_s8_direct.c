/* 3x3 convolution for input channels in multiples of four.
 *
 * A converted row is a sequence of blocks; block i holds column i - 1 for pixel 0 and column
 * i - 1 + stride * half for pixel 1, so the three taps of a kernel row are three blocks on end. In
 * a block, four channels c0 c1 c2 c3 make two pair steps, (c0, c2) and (c1, c3), as SXTAB16 gives
 * them; the indices are packed to match. */
#include "repedge_dsp.h"
#include "repedge_kernels.h"

enum { PIXELS = 2, CHANNELS_AT_ONCE = 4 };

/* One column into one pixel's words of a block; NULL is outside the image. */
static void convert_column(const int8_t *column, uint32_t channels, uint32_t offset,
                           uint32_t *block)
{
    for (uint32_t c = 0; c < channels; c += CHANNELS_AT_ONCE) {
        const uint32_t bytes = column == NULL ? 0u : repedge_dsp_load(column + c);
        const uint32_t lanes = column == NULL ? 0u : offset;
        block[0] = repedge_dsp_even_bytes(lanes, bytes);
        block[PIXELS] = repedge_dsp_odd_bytes(lanes, bytes);
        block += CHANNELS_AT_ONCE;
    }
}

static void convert_columns(const int8_t *column0, const int8_t *column1, uint32_t channels,
                            uint32_t offset, uint32_t *block)
{
    const int8_t *const end = column0 + channels;
    while (column0 != end) {
        const uint32_t bytes0 = repedge_dsp_load(column0), bytes1 = repedge_dsp_load(column1);
        column0 += CHANNELS_AT_ONCE;
        column1 += CHANNELS_AT_ONCE;
        block[0] = repedge_dsp_even_bytes(offset, bytes0);
        block[1] = repedge_dsp_even_bytes(offset, bytes1);
        block[2] = repedge_dsp_odd_bytes(offset, bytes0);
        block[3] = repedge_dsp_odd_bytes(offset, bytes1);
        block += PIXELS * CHANNELS_AT_ONCE / 2;
    }
}

static inline uint32_t block_count(const repedge_layer_t *layer)
{
    return layer->stride * (repedge_dsp_half(layer) - 1u) + 3u;
}

static void convert_row(const repedge_layer_t *layer, const int8_t *input_row, uint32_t *row)
{
    const uint32_t channels = layer->input.channels, width = layer->input.width;
    const uint32_t apart = layer->stride * repedge_dsp_half(layer);
    const uint32_t offset = repedge_dsp_pack(-layer->input_zero_point, -layer->input_zero_point);
    for (uint32_t block = 0; block < block_count(layer); ++block) {
        const int8_t *column0 = input_row + ((size_t)block - 1u) * channels;
        const int8_t *column1 = column0 + (size_t)apart * channels;
        const int inside0 = block > 0u && block <= width;
        const int inside1 = block + apart <= width; /* apart >= 1 */
        if (inside0 && inside1) {
            convert_columns(column0, column1, channels, offset, row);
        } else {
            convert_column(inside0 ? column0 : NULL, channels, offset, row);
            convert_column(inside1 ? column1 : NULL, channels, offset, row + 1);
        }
        row += channels;
    }
}

void repedge_conv3x3_s8_direct(const repedge_layer_t *layer, const int8_t *input, int8_t *scratch,
                               int8_t *output)
{
    const uint32_t channels = layer->input.channels;
    const repedge_dsp_layout_t layout = {
        .row_pairs = 3u * channels / 2u,
        .step_bytes = layer->stride * channels * (uint32_t)sizeof(uint32_t),
        .row_words = block_count(layer) * channels,
        .convert = convert_row,
    };
    repedge_dsp_convolve(layer, &layout, input, scratch, output);
}
