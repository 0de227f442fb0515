/* The strips of output channels, and for each the rows of the image. */
#include "repedge_dsp.h"
#include "repedge_unpack.h"

enum { KERNEL_ROWS = 3 };

/* Scratch and state of one strip. */
typedef struct {
    const repedge_layer_t *layer;
    const repedge_dsp_layout_t *layout;
    uint32_t *weights;
    repedge_dsp_group_t *groups;
    uint32_t *ring; /* input row y lies in slot y % 3; before that, the table of pairs */
    int8_t *border;
    uint32_t first_channel;
    uint32_t channels;
} strip_t;

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint32_t strip_groups(const strip_t *strip)
{
    return (strip->channels + DSP_GROUP - 1u) / DSP_GROUP;
}

static void prepare_groups(const strip_t *strip)
{
    const repedge_layer_t *layer = strip->layer;
    const uint32_t rise = (uint32_t)(layer->output_zero_point - layer->clamp_min);
    for (uint32_t lane = 0; lane < DSP_GROUP * strip_groups(strip); ++lane) {
        const uint32_t channel = strip->first_channel + lane;
        repedge_dsp_group_t *group = &strip->groups[lane / DSP_GROUP];
        repedge_dsp_requantize_t *requantize = &group->requantize[lane % DSP_GROUP];
        const uint32_t place = repedge_scale_place(layer, channel);
        const uint32_t shift = lane < strip->channels ? (uint32_t)-layer->shift[place] : 0u;
        group->doubled_bias[lane % DSP_GROUP] =
            lane < strip->channels ? 2 * layer->bias[channel] : 0;
        requantize->multiplier = lane < strip->channels ? layer->multiplier[place] : 0;
        requantize->rounding = (int32_t)((rise << shift) + ((1u << shift) >> 1));
        requantize->shift = shift;
    }
}

/* A group whose kernel rows have an odd number of taps: the pairs of its three rows, then the three
 * last taps of its channels, each beside a zero. */
static void decode_odd_group(const strip_t *strip, const uint8_t *packed, uint32_t *weights)
{
    const repedge_layer_t *layer = strip->layer;
    const size_t steps = strip->layout->row_pairs - 1u, row_words = (steps + 1u) * DSP_GROUP;
    for (uint32_t tap = 0; tap < KERNEL_ROWS; ++tap) {
        repedge_dsp_decode(layer, packed, steps, weights + tap * row_words, strip->ring);
        packed += steps * layer->bit_width;
    }
    repedge_bit_reader_t reader = {packed, 0u, 0u};
    for (uint32_t tap = 0; tap < KERNEL_ROWS; ++tap) {
        uint32_t *last = weights + tap * row_words + steps * DSP_GROUP;
        for (uint32_t lane = 0; lane < DSP_GROUP; ++lane) {
            last[lane] = repedge_dsp_pack(2 * repedge_next_weight(&reader, layer), 0);
        }
    }
}

/* The weights of the strip's groups. */
static void decode_groups(const strip_t *strip)
{
    const repedge_layer_t *layer = strip->layer;
    const uint32_t steps = KERNEL_ROWS * strip->layout->row_pairs, groups = strip_groups(strip);
    const size_t symbols = (size_t)KERNEL_ROWS * DSP_GROUP *
                           (2u * strip->layout->row_pairs - strip->layout->row_singles);
    const size_t group_bytes = repedge_row_bytes(symbols, layer->bit_width);
    const uint8_t *packed = layer->indices + strip->first_channel / DSP_GROUP * group_bytes;
    if (strip->layout->row_singles == 0u) {
        repedge_dsp_decode(layer, packed, groups * steps, strip->weights, strip->ring);
        return;
    }
    for (uint32_t group = 0; group < groups; ++group) {
        decode_odd_group(strip, packed, strip->weights + group * steps * DSP_GROUP);
        packed += group_bytes;
    }
}

static void prepare_strip(const strip_t *strip)
{
    repedge_dsp_build_table(strip->layer, strip->ring);
    decode_groups(strip);
    prepare_groups(strip);
}

static inline uint32_t *ring_row(const strip_t *strip, uint32_t y)
{
    return strip->ring + y % KERNEL_ROWS * strip->layout->row_words;
}

static uint32_t in_each_byte(int32_t value)
{
    return (uint32_t)(value & 0xFF) * 0x01010101u;
}

/* What all rows of the layer share. */
static void describe_layer(const strip_t *strip, repedge_dsp_row_t *row)
{
    const repedge_layer_t *layer = strip->layer;
    const int32_t headroom = 255 - (layer->clamp_max - layer->clamp_min);
    row->row_pairs = strip->layout->row_pairs;
    row->step_bytes = strip->layout->step_bytes;
    row->headroom = in_each_byte(headroom);
    row->offset = in_each_byte(layer->clamp_min - headroom);
    row->signed_ties = layer->output_zero_point != layer->clamp_min;
}

/* Inputs and weights of an output row's groups: only kernel rows inside the image are multiplied.
 */
static void describe_row(const strip_t *strip, uint32_t y, repedge_dsp_row_t *row)
{
    const uint32_t top = y * strip->layer->stride; /* input row + 1 of the first kernel row */
    const uint32_t first = top == 0u ? 1u : 0u;
    const uint32_t end = smaller(KERNEL_ROWS, strip->layer->input.height + 1u - top);
    const uint32_t row_words = row->row_pairs * DSP_GROUP;
    row->row_count = end - first;
    row->weights = strip->weights + first * row_words;
    row->weight_skip = (KERNEL_ROWS - row->row_count) * row_words * (uint32_t)sizeof(uint32_t);
    for (uint32_t tap = first; tap < end; ++tap) {
        row->rows[tap - first] = ring_row(strip, top + tap - 1u);
    }
}

static void advance(repedge_dsp_row_t *row, uint32_t pixel_pairs)
{
    for (uint32_t tap = 0; tap < row->row_count; ++tap) {
        row->rows[tap] += pixel_pairs * row->step_bytes / sizeof(uint32_t);
    }
}

/* All pixels of the row: pairs, and where the width is odd the middle pixel alone. */
static void multiply_whole_groups(const strip_t *strip, repedge_dsp_row_t *row, int8_t *output)
{
    const repedge_layer_t *layer = strip->layer;
    const uint32_t half = repedge_dsp_half(layer), pairs = layer->output.width - half;
    const uint32_t channels = layer->output.channels, whole = strip->channels / DSP_GROUP;
    row->groups = strip->groups;
    row->groups_end = strip->groups + whole;
    row->output_step = channels - DSP_GROUP * whole;
    row->output[0] = output;
    row->output[1] = output + (size_t)half * channels;
    if (pairs > 0u) {
        row->pixel_pairs = pairs;
        repedge_dsp_multiply_row(row);
    }
    if (pairs < half) {
        advance(row, pairs);
        row->pixel_pairs = 1u;
        row->output[0] = output + (size_t)pairs * channels;
        row->output[1] = row->output[0]; /* stored first, and written over */
        repedge_dsp_multiply_row(row);
    }
}

/* The last group of a layer whose channels are no multiple of four: through a buffer. */
static void multiply_last_group(const strip_t *strip, repedge_dsp_row_t *row, int8_t *output)
{
    const repedge_layer_t *layer = strip->layer;
    const uint32_t half = repedge_dsp_half(layer), whole = strip->channels / DSP_GROUP;
    row->weights += whole * KERNEL_ROWS * row->row_pairs * DSP_GROUP;
    row->groups = strip->groups + whole;
    row->groups_end = row->groups + 1;
    for (uint32_t x = 0; x < half; ++x) {
        int8_t pixels[2][DSP_GROUP];
        row->pixel_pairs = 1u;
        row->output[0] = pixels[0];
        row->output[1] = pixels[1];
        repedge_dsp_multiply_row(row);
        for (uint32_t k = DSP_GROUP * whole; k < strip->channels; ++k) {
            output[(size_t)x * layer->output.channels + k] = pixels[0][k % DSP_GROUP];
            if (x + half < layer->output.width) {
                output[(size_t)(x + half) * layer->output.channels + k] = pixels[1][k % DSP_GROUP];
            }
        }
        advance(row, 1u);
    }
}

static void convolve_strip(const strip_t *strip, const int8_t *input, int8_t *output)
{
    const repedge_layer_t *layer = strip->layer;
    const size_t input_row = (size_t)layer->input.width * layer->input.channels;
    repedge_dsp_row_t row;
    uint32_t converted = 0;
    describe_layer(strip, &row);
    for (uint32_t y = 0; y < layer->output.height; ++y) {
        const uint32_t needed = smaller(y * layer->stride + 2u, layer->input.height);
        for (; converted < needed; ++converted) {
            strip->layout->convert(layer, input + converted * input_row, strip->border,
                                   ring_row(strip, converted));
        }
        if (strip->channels >= DSP_GROUP) {
            describe_row(strip, y, &row);
            multiply_whole_groups(strip, &row, output);
        }
        if (strip->channels % DSP_GROUP != 0u) {
            describe_row(strip, y, &row);
            multiply_last_group(strip, &row, output);
        }
        output += (size_t)layer->output.width * layer->output.channels;
    }
}

repedge_status_t repedge_dsp_convolve(const repedge_layer_t *layer,
                                      const repedge_dsp_layout_t *layout, const int8_t *input,
                                      int8_t *scratch, int8_t *output)
{
    const uint32_t max_groups = layer->strip_channels / DSP_GROUP;
    strip_t strip = {.layer = layer, .layout = layout, .weights = (uint32_t *)(void *)scratch};
    uint32_t *const weights_end =
        strip.weights + max_groups * KERNEL_ROWS * layout->row_pairs * DSP_GROUP;
    strip.groups = (repedge_dsp_group_t *)(void *)weights_end;
    strip.ring = (uint32_t *)(void *)(strip.groups + max_groups);
    const uint32_t ring_words =
        larger(KERNEL_ROWS * layout->row_words, repedge_dsp_table_words(layer));
    if ((size_t)((int8_t *)(strip.ring + ring_words) - scratch) + layout->border_bytes >
        layer->scratch_bytes) {
        return REPEDGE_SMALL_SCRATCH;
    }
    strip.border = scratch + layer->scratch_bytes - layout->border_bytes;
    layout->prepare(layer, strip.border);
    for (uint32_t channel = 0; channel < layer->output.channels; channel += layer->strip_channels) {
        strip.first_channel = channel;
        strip.channels = smaller(layer->strip_channels, layer->output.channels - channel);
        prepare_strip(&strip);
        convolve_strip(&strip, input, output + channel);
    }
    return REPEDGE_OK;
}
