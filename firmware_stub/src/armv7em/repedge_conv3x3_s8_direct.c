/* 3x3 convolution for input channels in multiples of four.
 *
 * A converted row is a sequence of blocks; block i holds column i - 1 for pixel 0 and column
 * i - 1 + stride * half for pixel 1, so the three taps of a kernel row are three blocks on end. In
 * a block, four channels c0 c1 c2 c3 make two pair steps, (c0, c2) and (c1, c3), as SXTAB16 gives
 * them; the indices are packed to match. */
#include "repedge_dsp.h"
#include "repedge_kernels.h"

/* Two columns of `channels` into a block. */
static inline void convert_columns(const int8_t *column0, const int8_t *column1, uint32_t channels,
                                   uint32_t offset, uint32_t *block)
{
    __asm volatile("1: ldr r6, [%[column0]], #4\n"
                   "ldr r5, [%[column1]], #4\n"
                   "sxtab16 r4, %[offset], r6\n"
                   "sxtab16 r6, %[offset], r6, ror #8\n"
                   "sxtab16 r8, %[offset], r5, ror #8\n"
                   "sxtab16 r5, %[offset], r5\n"
                   "subs %[channels], %[channels], #4\n"
                   "stmia %[block]!, {r4, r5, r6, r8}\n"
                   "bne 1b"
                   : [column0] "+r"(column0), [column1] "+r"(column1), [channels] "+r"(channels),
                     [block] "+r"(block)
                   : [offset] "r"(offset)
                   : "r4", "r5", "r6", "r8", "cc", "memory");
}

static inline uint32_t block_count(const repedge_layer_t *layer)
{
    return layer->stride * (repedge_dsp_half(layer) - 1u) + 3u;
}

/* The border is one column of zero points. */
static void prepare_border(const repedge_layer_t *layer, int8_t *border)
{
    memset(border, layer->input_zero_point, layer->input.channels);
}

static void convert_row(const repedge_layer_t *layer, const int8_t *input_row, int8_t *border,
                        uint32_t *row)
{
    const uint32_t channels = layer->input.channels, width = layer->input.width;
    const uint32_t apart = layer->stride * repedge_dsp_half(layer);
    const uint32_t offset = repedge_dsp_pack(-layer->input_zero_point, -layer->input_zero_point);
    for (uint32_t block = 0; block < block_count(layer); ++block) {
        const int8_t *column = input_row + ((size_t)block - 1u) * channels;
        const int inside0 = block > 0u && block <= width;
        const int inside1 = block + apart <= width; /* apart >= 1 */
        convert_columns(inside0 ? column : border, inside1 ? column + apart * channels : border,
                        channels, offset, row);
        row += channels;
    }
}

repedge_status_t repedge_conv3x3_s8_direct(const repedge_layer_t *layer, const int8_t *input,
                                           int8_t *scratch, int8_t *output)
{
    const uint32_t channels = layer->input.channels;
    const repedge_dsp_layout_t layout = {
        .row_pairs = 3u * channels / 2u,
        .step_bytes = layer->stride * channels * (uint32_t)sizeof(uint32_t),
        .row_words = block_count(layer) * channels,
        .border_bytes = channels,
        .prepare = prepare_border,
        .convert = convert_row,
    };
    return repedge_dsp_convolve(layer, &layout, input, scratch, output);
}
