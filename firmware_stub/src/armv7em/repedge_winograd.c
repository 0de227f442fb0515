/* Strips of output channels, groups of tiles, borders: what is the same for both tile sizes. */
#include "repedge_winograd.h"

#include <stdbool.h>
#include <string.h>

enum { TAP_WORDS = WINOGRAD_LANES * WINOGRAD_TAPS, INT8_LOWEST = -128, INT8_HIGHEST = 127 };

/* Shifts above this would push the zero point out of the offset; such a channel is constant, which
 * convert/winograd.py proves. */
enum { SHIFT_MAX = 22 };

/* One convolution under way. Tiles are numbered in rows; two at a time are multiplied. */
typedef struct {
    const repedge_layer_t *layer;
    const winograd_transform_t *transform;
    const int8_t *input;
    int8_t *output;
    uint32_t *table; /* pairs of weights; unused above four bits */
    int32_t *m;
    winograd_channel_t *channels; /* of a strip */
    uint32_t *u;
    uint32_t *v;
    uint32_t pairs;       /* of input channels */
    uint32_t tiles_x;     /* tiles in a row */
    uint32_t tiles;       /* in the image */
    uint32_t group_tiles; /* tiles that V has room for, even; 0 where scratch is too small */
    uint32_t u_words;     /* of four output channels */
    uint32_t v_words;     /* of two tiles */
} run_t;

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static run_t start(const repedge_layer_t *layer, const winograd_transform_t *transform,
                   const int8_t *input, int8_t *scratch, int8_t *output)
{
    const uint32_t positions = transform->positions;
    const uint32_t outputs = transform->outputs;
    run_t run = {.layer = layer, .transform = transform, .input = input, .output = output};
    run.pairs = layer->input.channels / 2u;
    run.tiles_x = (layer->output.width + outputs - 1u) / outputs;
    run.tiles = run.tiles_x * ((layer->output.height + outputs - 1u) / outputs);
    run.u_words = run.pairs * positions * WINOGRAD_LANES;
    run.v_words = run.pairs * positions * WINOGRAD_TILES;
    run.table = (uint32_t *)(void *)scratch;
    run.m = (int32_t *)(run.table + repedge_dsp_table_words(layer));
    run.channels = (winograd_channel_t *)(run.m + positions * WINOGRAD_LANES * WINOGRAD_TILES);
    run.u = (uint32_t *)(run.channels + layer->strip_channels);
    run.v = run.u + layer->strip_channels / WINOGRAD_LANES * run.u_words;
    const uint32_t words = layer->scratch_bytes / 4u, before = (uint32_t)(run.v - run.table);
    run.group_tiles = before < words ? WINOGRAD_TILES * ((words - before) / run.v_words) : 0u;
    return run;
}

/* ---- output channels: weights and constants */

static const uint8_t *stream_of(const run_t *run, uint32_t channel)
{
    return run->layer->indices + (size_t)channel * WINOGRAD_TAPS * run->layer->input.channels *
                                     run->layer->bit_width / 8u;
}

/* U of the output channels first .. end - 1 */
static void transform_weights(const run_t *run, uint32_t first, uint32_t end)
{
    uint32_t taps[TAP_WORDS];
    const uint32_t pair_bytes = WINOGRAD_STEPS * run->layer->bit_width;
    const uint32_t pair_words = run->transform->positions * WINOGRAD_LANES;
    const uint8_t *stream = stream_of(run, first);
    uint32_t *u = run->u;
    for (uint32_t count = (end - first) / WINOGRAD_LANES * run->pairs; count > 0u; --count) {
        repedge_dsp_decode(run->layer, stream, WINOGRAD_STEPS, taps, run->table);
        run->transform->weights(taps, u);
        stream += pair_bytes;
        u += pair_words;
    }
}

/* Constants of the output channels first .. end - 1 */
static void prepare_channels(const run_t *run, uint32_t first, uint32_t end)
{
    const repedge_layer_t *layer = run->layer;
    winograd_channel_t *prepared = run->channels;
    for (uint32_t channel = first; channel < end; ++channel) {
        const uint32_t place = repedge_scale_place(layer, channel);
        int32_t multiplier = layer->multiplier[place];
        int32_t shift = -layer->shift[place];
        if (multiplier == 0 || shift > SHIFT_MAX) { /* always the zero point */
            multiplier = 0;
            shift = 1;
        }
        const int32_t one = (int32_t)(1u << shift);
        prepared->bias_twice = 2 * layer->bias[channel];
        prepared->multiplier = multiplier;
        prepared->offset = one / 2 + layer->output_zero_point * one;
        prepared->shift = shift;
        ++prepared;
    }
}

static void prepare_strip(const run_t *run, uint32_t first, uint32_t end)
{
    prepare_channels(run, first, end);
    transform_weights(run, first, end);
}

/* ---- input */

/* Rows or columns of a patch that lie inside the image: first <= k < end. The patch starts one
 * before `start` because of the padding. */
typedef struct {
    uint32_t first;
    uint32_t end;
} span_t;

static inline span_t inside(uint32_t start, uint32_t side, uint32_t size)
{
    const span_t span = {start == 0u ? 1u : 0u, smaller(side, size + 1u - start)};
    return span;
}

/* A patch that leaves the image: four channels at a time are copied into one that does not, with
 * the zero point outside. */
static void transform_border(const run_t *run, uint32_t y, uint32_t x, uint32_t *v)
{
    const repedge_shape_t image = run->layer->input;
    const uint32_t side = run->transform->outputs + 2u;
    const span_t rows = inside(y, side, image.height);
    const span_t columns = inside(x, side, image.width);
    const winograd_patch_t shape = {4u, 4u * side, 1u, run->layer->input_zero_point};
    uint32_t patch[WINOGRAD_POSITIONS_MAX];
    memset(patch, (uint8_t)run->layer->input_zero_point, sizeof patch);
    const int8_t *corner =
        run->input +
        ((size_t)(y + rows.first - 1u) * image.width + x + columns.first - 1u) * image.channels;
    for (uint32_t channel = 0; channel < image.channels; channel += 4u) {
        const int8_t *pixels = corner + channel;
        for (uint32_t row = rows.first; row < rows.end; ++row) {
            const int8_t *pixel = pixels;
            for (uint32_t column = columns.first; column < columns.end; ++column) {
                memcpy(&patch[row * side + column], pixel, 4u);
                pixel += image.channels;
            }
            pixels += (size_t)image.width * image.channels;
        }
        run->transform->input((const int8_t *)patch, v, &shape);
        v += 2u * run->transform->positions * WINOGRAD_TILES;
    }
}

static void transform_tile(const run_t *run, uint32_t tile, uint32_t *v)
{
    const repedge_shape_t image = run->layer->input;
    const uint32_t outputs = run->transform->outputs;
    const uint32_t y = tile / run->tiles_x * outputs;
    const uint32_t x = tile % run->tiles_x * outputs;
    if (y == 0u || x == 0u || y + outputs >= image.height || x + outputs >= image.width) {
        transform_border(run, y, x, v);
        return;
    }
    const uint32_t row = (uint32_t)image.width * image.channels;
    const winograd_patch_t shape = {image.channels, row, image.channels / 4u,
                                    run->layer->input_zero_point};
    run->transform->input(run->input + (size_t)(y - 1u) * row + (size_t)(x - 1u) * image.channels,
                          v, &shape);
}

/* V of the tiles first .. end - 1 */
static void transform_input(const run_t *run, uint32_t first, uint32_t end)
{
    for (uint32_t tile = first; tile < end; ++tile) {
        const uint32_t number = tile - first;
        transform_tile(run, tile,
                       run->v + number / WINOGRAD_TILES * run->v_words + number % WINOGRAD_TILES);
    }
}

/* ---- output */

/* A tile at the right or lower border may reach past the image: only what is inside is stored. */
static void store_part(const run_t *run, const int32_t *m, const winograd_channel_t *channels,
                       uint32_t height, uint32_t width, int8_t *output)
{
    uint32_t tile[4u * 4u]; /* one word is four channels of a pixel */
    const repedge_shape_t image = run->layer->output;
    const uint32_t outputs = run->transform->outputs;
    const winograd_patch_t shape = {4u, 4u * outputs, 1u, 0};
    run->transform->output(m, channels, (int8_t *)tile, &shape);
    for (uint32_t y = 0; y < height; ++y) {
        for (uint32_t x = 0; x < width; ++x) {
            memcpy(output + ((size_t)y * image.width + x) * image.channels, &tile[y * outputs + x],
                   4u);
        }
    }
}

static void store_tile(const run_t *run, const int32_t *m, const winograd_channel_t *channels,
                       uint32_t tile, uint32_t channel)
{
    const repedge_shape_t image = run->layer->output;
    const uint32_t outputs = run->transform->outputs;
    const uint32_t y = tile / run->tiles_x * outputs;
    const uint32_t x = tile % run->tiles_x * outputs;
    int8_t *output = run->output + ((size_t)y * image.width + x) * image.channels + channel;
    if (y + outputs > image.height || x + outputs > image.width) {
        store_part(run, m, channels, smaller(outputs, image.height - y),
                   smaller(outputs, image.width - x), output);
        return;
    }
    const winograd_patch_t shape = {image.channels, (uint32_t)image.width * image.channels, 1u, 0};
    run->transform->output(m, channels, output, &shape);
}

/* The outputs of a strip of channels and a group of tiles whose U and V stand in scratch. */
static void multiply_group(const run_t *run, uint32_t first_channel, uint32_t end_channel,
                           uint32_t first_tile, uint32_t end_tile)
{
    const winograd_channel_t *channels = run->channels;
    const uint32_t *u = run->u;
    for (uint32_t channel = first_channel; channel < end_channel; channel += WINOGRAD_LANES) {
        const uint32_t *v = run->v;
        for (uint32_t tile = first_tile; tile < end_tile; tile += WINOGRAD_TILES) {
            run->transform->multiply(u, v, run->m, run->pairs);
            store_tile(run, run->m, channels, tile, channel);
            if (tile + 1u < end_tile) {
                store_tile(run, run->m + 1, channels, tile + 1u, channel);
            }
            v += run->v_words;
        }
        u += run->u_words;
        channels += WINOGRAD_LANES;
    }
}

/* ---- order of strips and groups */

/* Each strip once, the image again for each of them. */
static void run_strips_first(const run_t *run)
{
    const uint32_t strip = run->layer->strip_channels;
    const uint32_t channels = run->layer->output.channels;
    for (uint32_t channel = 0; channel < channels; channel += strip) {
        const uint32_t channel_end = smaller(channel + strip, channels);
        prepare_strip(run, channel, channel_end);
        for (uint32_t tile = 0; tile < run->tiles; tile += run->group_tiles) {
            const uint32_t tile_end = smaller(tile + run->group_tiles, run->tiles);
            if (channel == 0u || run->group_tiles < run->tiles) {
                transform_input(run, tile, tile_end);
            }
            multiply_group(run, channel, channel_end, tile, tile_end);
        }
    }
}

/* Each group of tiles once, the weights again for each of them. */
static void run_groups_first(const run_t *run)
{
    const uint32_t strip = run->layer->strip_channels;
    const uint32_t channels = run->layer->output.channels;
    for (uint32_t tile = 0; tile < run->tiles; tile += run->group_tiles) {
        const uint32_t tile_end = smaller(tile + run->group_tiles, run->tiles);
        transform_input(run, tile, tile_end);
        for (uint32_t channel = 0; channel < channels; channel += strip) {
            const uint32_t channel_end = smaller(channel + strip, channels);
            prepare_strip(run, channel, channel_end);
            multiply_group(run, channel, channel_end, tile, tile_end);
        }
    }
}

/* True where transforming the image again for each strip costs less than transforming the weights
 * again for each group. */
static bool strips_first(const run_t *run)
{
    const uint32_t channels = run->layer->output.channels;
    const uint32_t strips = (channels - 1u) / run->layer->strip_channels;
    const uint32_t groups = (run->tiles - 1u) / run->group_tiles;
    return groups == 0u || strips * run->tiles * run->transform->tile_cost < 2u * groups * channels;
}

repedge_status_t repedge_winograd(const repedge_layer_t *layer,
                                  const winograd_transform_t *transform, const int8_t *input,
                                  int8_t *scratch, int8_t *output)
{
    const run_t run = start(layer, transform, input, scratch, output);
    if (run.group_tiles == 0u) {
        return REPEDGE_SMALL_SCRATCH;
    }
    repedge_dsp_build_table(layer, run.table);
    if (strips_first(&run)) {
        run_strips_first(&run);
    } else {
        run_groups_first(&run);
    }
    if (layer->clamp_min > INT8_LOWEST || layer->clamp_max < INT8_HIGHEST) {
        repedge_winograd_clamp(layer, output);
    }
    return REPEDGE_OK;
}
