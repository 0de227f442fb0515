/* 3x3 convolution for MVE with 1 or 3 input channels.
 *
 * Scratch: the strip, then the three input rows of one output row, turned so that the window of an
 * output is one run of bytes:
 *
 *     window[column][ky][channel]           column 0 is the left padding
 *
 * 9 or 27 of its values, then those of later columns, whose weights are zero. As in
 * repedge_conv3x3_s8_mve_direct.c the padding holds the input's zero point. */
#include "repedge_kernels.h"
#include "repedge_mve.h"
#include "repedge_unpack.h"

enum { LANES = REPEDGE_MVE_LANES, PAIR = REPEDGE_MVE_PAIR };
enum { TAPS = REPEDGE_MVE_TAPS, MAX_VECTORS = 2 };

typedef struct {
    int8_t *bytes;
    uint32_t columns;
    uint32_t column_bytes;
    uint8x16_t scatter; /* where consecutive values of an image row go */
    uint32_t lanes;     /* how many of them at once: whole pixels */
} window_t;

static inline uint32_t vectors_of(const repedge_layer_t *layer)
{
    return (TAPS * layer->input.channels + LANES - 1u) / LANES;
}

static inline uint32_t pair_bytes(uint32_t vectors)
{
    return vectors * PAIR * LANES + (uint32_t)sizeof(repedge_mve_block_t);
}

/* Bytes of the window buffer: the last window reads up to a vector past its end. */
static inline uint32_t window_bytes(const repedge_layer_t *layer)
{
    return (3u * layer->input.channels * repedge_mve_columns(layer) / LANES + 2u) * LANES;
}

/* The window buffer, all of it padding. */
static window_t window_in(const repedge_layer_t *layer, int8_t *memory)
{
    const uint32_t channels = layer->input.channels;
    uint8_t offsets[LANES];
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        offsets[lane] = (uint8_t)(lane / channels * 3u * channels + lane % channels);
    }
    const window_t window = {
        .bytes = memory,
        .columns = repedge_mve_columns(layer),
        .column_bytes = 3u * channels,
        .scatter = vldrbq_u8(offsets),
        .lanes = LANES / channels * channels,
    };
    for (uint32_t at = 0; at < window_bytes(layer); at += LANES) {
        vstrbq_s8(memory + at, vdupq_n_s8(layer->input_zero_point));
    }
    return window;
}

/* `count` values of an image row as kernel row ky of their columns. */
static void scatter_row(const window_t *window, const int8_t *values, uint32_t count, int8_t *to)
{
    for (; count >= window->lanes; count -= window->lanes) {
        const mve_pred16_t inside = vctp8q(window->lanes);
        vstrbq_scatter_offset_p_s8(to, window->scatter, vldrbq_z_s8(values, inside), inside);
        values += window->lanes;
        to += window->lanes * 3u;
    }
    const mve_pred16_t inside = vctp8q(count);
    vstrbq_scatter_offset_p_s8(to, window->scatter, vldrbq_z_s8(values, inside), inside);
}

/* The same of a row of padding. */
static void scatter_padding(const window_t *window, int8_t value, uint32_t count, int8_t *to)
{
    for (uint32_t at = 0; at < count; at += window->lanes) {
        const uint32_t rest = count - at;
        const mve_pred16_t inside = vctp8q(rest < window->lanes ? rest : window->lanes);
        vstrbq_scatter_offset_p_s8(to, window->scatter, vdupq_n_s8(value), inside);
        to += window->lanes * 3u;
    }
}

/* The three input rows of output row y. */
static void load_rows(const window_t *window, const repedge_layer_t *layer, const int8_t *input,
                      uint32_t y)
{
    const uint32_t count = (uint32_t)layer->input.width * layer->input.channels;
    for (uint32_t ky = 0; ky < 3u; ++ky) {
        const uint32_t row = y * layer->stride + ky - 1u;
        int8_t *const to = window->bytes + window->column_bytes + ky * layer->input.channels;
        if (row < layer->input.height) { /* row -1 wraps to a large one */
            scatter_row(window, input + (size_t)row * count, count, to);
        } else {
            scatter_padding(window, layer->input_zero_point, count, to);
        }
    }
}

/* Bit of each of the window's values in a row of packed indices. */
static void window_bits(const repedge_layer_t *layer, uint8_t bits[MAX_VECTORS * LANES])
{
    const uint32_t channels = layer->input.channels;
    for (uint32_t k = 0; k < TAPS * channels; ++k) {
        const uint32_t kx = k / (3u * channels), ky = k / channels % 3u;
        bits[k] = (uint8_t)(((ky * 3u + kx) * channels + k % channels) * layer->bit_width);
    }
}

/* Weights and blocks of output channels first .. first + count - 1; a missing second one of the
 * last pair repeats the first and is never stored. */
static void decode_strip(const repedge_layer_t *layer, uint32_t first, uint32_t count,
                         int8_t *strip)
{
    const uint32_t values = TAPS * layer->input.channels, vectors = vectors_of(layer);
    const size_t row_bytes = repedge_row_bytes(values, layer->bit_width);
    uint8_t bits[MAX_VECTORS * LANES] = {0};
    window_bits(layer, bits);
    for (uint32_t k = 0; k < count; k += PAIR) {
        int8_t *const pair = strip + k / PAIR * pair_bytes(vectors);
        repedge_mve_block_t *const block = (repedge_mve_block_t *)(pair + vectors * PAIR * LANES);
        block->output_zero_point = layer->output_zero_point;
        for (uint32_t lane = 0; lane < PAIR; ++lane) {
            const uint32_t channel = first + (k + lane < count ? k + lane : k);
            int32_t sum = 0;
            for (uint32_t v = 0; v < vectors; ++v) {
                const int8x16_t weights = repedge_mve_decode_inside(
                    layer->indices + channel * row_bytes,
                    repedge_mve_places(vldrbq_u8(bits + v * LANES), layer->bit_width),
                    layer->bit_width, layer->codebook, vctp8q(values - v * LANES));
                vstrbq_s8(pair + (v * PAIR + lane) * LANES, weights);
                sum = vaddvaq_s8(sum, weights);
            }
            repedge_mve_fill_block(block, lane, layer, channel, sum);
        }
    }
}

static repedge_mve_loops_t loops_of(const repedge_layer_t *layer, const window_t *window)
{
    static repedge_mve_tiles_t *const functions[2][2][2] = {
        /* [3 channels][stride 2][plain] */
        {{repedge_mve_window1_stride1_checked, repedge_mve_window1_stride1_plain},
         {repedge_mve_window1_stride2_checked, repedge_mve_window1_stride2_plain}},
        {{repedge_mve_window3_stride1_checked, repedge_mve_window3_stride1_plain},
         {repedge_mve_window3_stride2_checked, repedge_mve_window3_stride2_plain}},
    };
    repedge_mve_tiles_t *const *pair =
        functions[layer->input.channels == 3u ? 1 : 0][layer->stride == 2u ? 1 : 0];
    const repedge_mve_loops_t loops = {
        .whole = pair[repedge_mve_is_plain(layer) ? 1 : 0],
        .edge = pair[0],
        .pixel_bytes = layer->stride * window->column_bytes,
        .pair_bytes = pair_bytes(vectors_of(layer)),
    };
    return loops;
}

static void convolve_strip(const repedge_layer_t *layer, const int8_t *input,
                           const window_t *window, const int8_t *strip, uint32_t count,
                           int8_t *output)
{
    const repedge_mve_loops_t loops = loops_of(layer, window);
    repedge_mve_run_t run = repedge_mve_run(layer);
    run.rows[0] = run.rows[1] = run.rows[2] = window->bytes;
    run.weights = strip;
    run.output = output;
    for (uint32_t y = 0; y < layer->output.height; ++y) {
        load_rows(window, layer, input, y);
        repedge_mve_run_row(&run, &loops, layer->output.width, count);
        run.output += (size_t)layer->output.width * layer->output.channels;
    }
}

repedge_status_t repedge_conv3x3_s8_mve_first(const repedge_layer_t *layer, const int8_t *input,
                                              int8_t *scratch, int8_t *output)
{
    const uint32_t strip_channels = layer->strip_channels, channels = layer->output.channels;
    const uint32_t strip_bytes = (strip_channels + 1u) / PAIR * pair_bytes(vectors_of(layer));
    if (strip_bytes + window_bytes(layer) > layer->scratch_bytes) {
        return REPEDGE_SMALL_SCRATCH;
    }
    const window_t window = window_in(layer, scratch + strip_bytes);
    for (uint32_t first = 0; first < channels; first += strip_channels) {
        const uint32_t rest = channels - first;
        const uint32_t count = rest < strip_channels ? rest : strip_channels;
        decode_strip(layer, first, count, scratch);
        convolve_strip(layer, input, &window, scratch, count, output + first);
    }
    return REPEDGE_OK;
}
