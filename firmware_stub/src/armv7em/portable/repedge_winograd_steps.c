/* The steps of both transforms in plain C, straight from their matrices: for hosts, where tests
 * prove the algorithm. Whole numbers modulo 2^32 throughout; U and V fit int16. */
#include "../../repedge_unpack.h"
#include "../repedge_winograd.h"

enum { SIDE_MAX = 6, OUTPUTS_MAX = 4, TAPS = 3 };

typedef struct {
    uint32_t outputs;
    int8_t input[SIDE_MAX][SIDE_MAX];     /* B' */
    int8_t weights[SIDE_MAX][TAPS];       /* G */
    int8_t output[OUTPUTS_MAX][SIDE_MAX]; /* A' */
    uint32_t inverse;                     /* times it and shifted right: twice the convolution */
    uint32_t shift;
} matrices_t;

static const matrices_t two = {
    .outputs = 2u,
    .input = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
    .weights = {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}},
    .output = {{1, 1, 1, 0}, {0, 1, -1, -1}},
    .inverse = 1u, /* 4 = 2^2 */
    .shift = 2u,
};

static const matrices_t four = {
    .outputs = 4u,
    .input = {{4, 0, -5, 0, 1, 0},
              {0, -4, -4, 1, 1, 0},
              {0, 4, -4, -1, 1, 0},
              {0, -2, -1, 2, 1, 0},
              {0, 2, -1, -2, 1, 0},
              {0, 4, 0, -5, 0, 1}},
    .weights = {{1, 0, 0}, {1, 1, 1}, {1, -1, 1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 1}},
    .output = {{6, -4, -4, 1, 1, 0},
               {0, -4, 4, 2, -2, 0},
               {0, -4, -4, 4, 4, 0},
               {0, -4, 4, 8, -8, 24}},
    .inverse = 0x38e38e39u, /* 576 = 9 * 2^6 */
    .shift = 6u,
};

static inline int32_t half(uint32_t word, uint32_t high)
{
    return (int16_t)(word >> (16u * high));
}

static inline void set_half(uint32_t *word, uint32_t high, int32_t value)
{
    const uint32_t kept = high != 0u ? *word & 0xffffu : *word & 0xffff0000u;
    *word = kept | ((uint32_t)value & 0xffffu) << (16u * high);
}

/* matrix (rows x columns) times each column of `from`, then of each row: to[i][j]. */
static void transform_weights(const matrices_t *matrices, const int32_t g[TAPS][TAPS],
                              int32_t u[SIDE_MAX][SIDE_MAX])
{
    const uint32_t side = matrices->outputs + 2u;
    for (uint32_t i = 0; i < side; ++i) {
        for (uint32_t j = 0; j < side; ++j) {
            int32_t sum = 0;
            for (uint32_t y = 0; y < TAPS; ++y) {
                for (uint32_t x = 0; x < TAPS; ++x) {
                    sum += matrices->weights[i][y] * matrices->weights[j][x] * g[y][x];
                }
            }
            u[i][j] = sum;
        }
    }
}

static void weights(const matrices_t *matrices, const uint32_t *taps, uint32_t *u)
{
    const uint32_t side = matrices->outputs + 2u;
    for (uint32_t lane = 0; lane < WINOGRAD_LANES; ++lane) {
        for (uint32_t high = 0; high < 2u; ++high) {
            int32_t g[TAPS][TAPS];
            int32_t result[SIDE_MAX][SIDE_MAX];
            for (uint32_t tap = 0; tap < WINOGRAD_TAPS; ++tap) { /* taps go down the columns */
                g[tap % TAPS][tap / TAPS] = half(taps[lane * WINOGRAD_TAPS + tap], high);
            }
            transform_weights(matrices, g, result);
            for (uint32_t position = 0; position < side * side; ++position) {
                set_half(&u[position * WINOGRAD_LANES + lane], high,
                         result[position / side][position % side]);
            }
        }
    }
}

/* V of one channel */
static void transform_channel(const matrices_t *matrices, const int8_t *patch,
                              const winograd_patch_t *shape, uint32_t *v, uint32_t high)
{
    const uint32_t side = matrices->outputs + 2u;
    int32_t half_way[SIDE_MAX][SIDE_MAX];
    for (uint32_t i = 0; i < side; ++i) {
        for (uint32_t x = 0; x < side; ++x) {
            half_way[i][x] = 0;
            for (uint32_t y = 0; y < side; ++y) {
                const int8_t *pixel =
                    patch + (size_t)y * shape->row_stride + (size_t)x * shape->pixel_stride;
                half_way[i][x] += matrices->input[i][y] * (*pixel - shape->zero_point);
            }
        }
    }
    for (uint32_t position = 0; position < side * side; ++position) {
        int32_t sum = 0;
        for (uint32_t x = 0; x < side; ++x) {
            sum += matrices->input[position % side][x] * half_way[position / side][x];
        }
        set_half(&v[position * WINOGRAD_TILES], high, sum);
    }
}

static void input(const matrices_t *matrices, const int8_t *patch, uint32_t *v,
                  const winograd_patch_t *shape)
{
    const uint32_t pair_words =
        (matrices->outputs + 2u) * (matrices->outputs + 2u) * WINOGRAD_TILES;
    for (uint32_t quad = 0; quad < shape->quads; ++quad) {
        for (uint32_t channel = 0; channel < 4u; ++channel) {
            transform_channel(matrices, patch + 4u * quad + channel, shape,
                              v + (2u * quad + channel % 2u) * pair_words, channel / 2u);
        }
    }
}

static void multiply(const matrices_t *matrices, const uint32_t *u, const uint32_t *v, int32_t *m,
                     uint32_t pairs)
{
    const uint32_t positions = (matrices->outputs + 2u) * (matrices->outputs + 2u);
    for (uint32_t position = 0; position < positions; ++position) {
        for (uint32_t sum = 0; sum < WINOGRAD_LANES * WINOGRAD_TILES; ++sum) {
            uint32_t total = 0;
            for (uint32_t pair = 0; pair < pairs; ++pair) {
                const uint32_t at = pair * positions + position;
                const uint32_t a = u[at * WINOGRAD_LANES + sum / WINOGRAD_TILES];
                const uint32_t b = v[at * WINOGRAD_TILES + sum % WINOGRAD_TILES];
                total +=
                    (uint32_t)(half(a, 0u) * half(b, 0u)) + (uint32_t)(half(a, 1u) * half(b, 1u));
            }
            *m++ = (int32_t)total;
        }
    }
}

/* (high(2 * sum * multiplier, rounded) + offset - (sum < 0)) >> shift, clamped to int8 */
static int8_t requantize(int32_t doubled, const winograd_channel_t *channel)
{
    const int64_t twice = (int64_t)channel->bias_twice + doubled;
    const int32_t high = (int32_t)((twice * channel->multiplier + ((int64_t)1 << 31)) >> 32);
    const int32_t value = (high + channel->offset - (twice < 0 ? 1 : 0)) >> channel->shift;
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}

/* A' M A of one output channel at (y, x), divided down to twice the convolution */
static int32_t doubled_convolution(const matrices_t *matrices, const int32_t *m, uint32_t y,
                                   uint32_t x)
{
    const uint32_t side = matrices->outputs + 2u;
    uint32_t sum = 0;
    for (uint32_t position = 0; position < side * side; ++position) {
        const int32_t factor =
            matrices->output[y][position / side] * matrices->output[x][position % side];
        sum += (uint32_t)factor * (uint32_t)m[position * WINOGRAD_LANES * WINOGRAD_TILES];
    }
    return (int32_t)(sum * matrices->inverse) >> matrices->shift;
}

static void output(const matrices_t *matrices, const int32_t *m, const winograd_channel_t *channels,
                   int8_t *to, const winograd_patch_t *shape)
{
    for (uint32_t lane = 0; lane < WINOGRAD_LANES; ++lane) {
        for (uint32_t y = 0; y < matrices->outputs; ++y) {
            for (uint32_t x = 0; x < matrices->outputs; ++x) {
                const int32_t sum = doubled_convolution(matrices, m + lane * WINOGRAD_TILES, y, x);
                to[(size_t)y * shape->row_stride + (size_t)x * shape->pixel_stride + lane] =
                    requantize(sum, &channels[lane]);
            }
        }
    }
}

/* ---- the two of repedge_dsp_decode.c */

void repedge_dsp_build_table(const repedge_layer_t *layer, uint32_t *table)
{
    (void)layer; /* decoding does without */
    (void)table;
}

void repedge_dsp_decode(const repedge_layer_t *layer, const uint8_t *indices, size_t steps,
                        uint32_t *decoded, const uint32_t *table)
{
    (void)table;
    repedge_bit_reader_t reader = {indices, 0u, 0u};
    for (size_t k = 0; k < DSP_GROUP * steps; ++k) {
        const int32_t low = repedge_next_weight(&reader, layer);
        const int32_t high = repedge_next_weight(&reader, layer);
        decoded[k] = repedge_dsp_pack(2 * low, 2 * high);
    }
}

/* ---- the steps */

void repedge_winograd2_weights(const uint32_t *taps, uint32_t *u)
{
    weights(&two, taps, u);
}

void repedge_winograd2_input(const int8_t *patch, uint32_t *v, const winograd_patch_t *shape)
{
    input(&two, patch, v, shape);
}

void repedge_winograd2_multiply(const uint32_t *u, const uint32_t *v, int32_t *m, uint32_t pairs)
{
    multiply(&two, u, v, m, pairs);
}

void repedge_winograd2_output(const int32_t *m, const winograd_channel_t *channels, int8_t *to,
                              const winograd_patch_t *shape)
{
    output(&two, m, channels, to, shape);
}

void repedge_winograd4_weights(const uint32_t *taps, uint32_t *u)
{
    weights(&four, taps, u);
}

void repedge_winograd4_input(const int8_t *patch, uint32_t *v, const winograd_patch_t *shape)
{
    input(&four, patch, v, shape);
}

void repedge_winograd4_multiply(const uint32_t *u, const uint32_t *v, int32_t *m, uint32_t pairs)
{
    multiply(&four, u, v, m, pairs);
}

void repedge_winograd4_output(const int32_t *m, const winograd_channel_t *channels, int8_t *to,
                              const winograd_patch_t *shape)
{
    output(&four, m, channels, to, shape);
}
