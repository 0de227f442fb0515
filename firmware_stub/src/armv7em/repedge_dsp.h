/* What the Armv7E-M (DSP extension) convolutions share: the layout of their scratch and their
 * parts.
 *
 * The unit of work is a pair step: two weights of four output channels times two inputs of two
 * pixels, sixteen multiply-accumulates in 3 LDRD and 8 SMLAD. Weights lie as words of two int16,
 * [pair][channel]; inputs as words of two int16, [pair][pixel]. The two pixels of a row are half of
 * the row apart, x and x + half, so that neighbours share nothing and an input row is converted
 * once, without copies.
 *
 * Weights are decoded as 2 * codebook entry and the bias is doubled, so that SMMULR of an
 * accumulator is TFLite's rounding doubling high multiply; the tables' writer proves that twice the
 * accumulator stays inside int32. */
#ifndef REPEDGE_DSP_H
#define REPEDGE_DSP_H

#include <string.h>

#include "repedge_model.h"

enum { DSP_GROUP = 4 }; /* output channels computed together */

/* Requantization of one channel: usat8((SMMULR(sum, multiplier) + rounding) >> shift). */
typedef struct {
    int32_t multiplier;
    int32_t rounding; /* half of 2^shift, and (zero_point - clamp_min) * 2^shift */
    uint32_t shift;   /* 0..31, to the right */
} repedge_dsp_requantize_t;

/* Constants of four output channels; channels past the layer's last one are zero. */
typedef struct {
    int32_t doubled_bias[DSP_GROUP];
    repedge_dsp_requantize_t requantize[DSP_GROUP];
} repedge_dsp_group_t;

_Static_assert(sizeof(repedge_dsp_group_t) == 64, "the assembly walks groups of 64 bytes");

/* One run along an output row; repedge_dsp_multiply_row.S reads it by offsets and counts
 * `pixel_pairs` down. */
typedef struct {
    const uint32_t *rows[3];           /* input rows inside the image, at the first pixel pair */
    uint32_t row_count;                /* 1..3 */
    uint32_t row_pairs;                /* pair steps per row */
    uint32_t step_bytes;               /* from one pixel pair to the next in a row */
    uint32_t output_step;              /* from a pixel's last group to the next pixel's first */
    uint32_t pixel_pairs;              /* at least 1 */
    const uint32_t *weights;           /* of the first row inside the image */
    const repedge_dsp_group_t *groups; /* first, and past the last */
    const repedge_dsp_group_t *groups_end;
    uint32_t weight_skip; /* bytes of weights of rows outside the image */
    int8_t *output[2];    /* of pixel 0 and of pixel 1, which is stored first */
    uint32_t headroom;    /* 255 - (clamp_max - clamp_min), in each byte */
    uint32_t offset;      /* clamp_min - headroom modulo 256, in each byte */
    uint32_t signed_ties; /* 1: negative values can be seen, so their ties must round away from 0 */
} repedge_dsp_row_t;

/* Multiply, requantize and store: all groups of all pixel pairs of the run. */
void repedge_dsp_multiply_row(repedge_dsp_row_t *row);

/* Words of the table of pairs: 4^bit_width; above four bits there is no table. */
static inline uint32_t repedge_dsp_table_words(const repedge_layer_t *layer)
{
    return layer->bit_width <= 4u ? 1u << (2u * layer->bit_width) : 0u;
}

/* The weights, doubled, of every pair of indices; nothing where there is no table. */
void repedge_dsp_build_table(const repedge_layer_t *layer, uint32_t *table);

/* Decode `steps` (at least one) pair steps from packed symbols, eight to a step, into 4 words each,
 * with the layer's table. */
void repedge_dsp_decode(const repedge_layer_t *layer, const uint8_t *indices, size_t steps,
                        uint32_t *weights, const uint32_t *table);

/* How a kernel lays out input rows. */
typedef struct {
    uint32_t row_pairs;    /* pair steps of one kernel row */
    uint32_t step_bytes;   /* from one pixel pair to the next */
    uint32_t row_words;    /* of one converted row */
    uint32_t border_bytes; /* a multiple of 4, at the end of the scratch */
    /* Fill `border` with what lies left and right of the image; once per layer. */
    void (*prepare)(const repedge_layer_t *layer, int8_t *border);
    /* Convert one input row into `row`. */
    void (*convert)(const repedge_layer_t *layer, const int8_t *input_row, int8_t *border,
                    uint32_t *row);
} repedge_dsp_layout_t;

/* The whole convolution with that layout. Scratch: weights of a strip, its groups, three rows (or
 * the table of pairs, where that is larger), and the layout's border. */
repedge_status_t repedge_dsp_convolve(const repedge_layer_t *layer,
                                      const repedge_dsp_layout_t *layout, const int8_t *input,
                                      int8_t *scratch, int8_t *output);

/* The two pixels of a pair are this far apart in the output row. */
static inline uint32_t repedge_dsp_half(const repedge_layer_t *layer)
{
    return (layer->output.width + 1u) / 2u;
}

/* Two int16 of one word. */
static inline uint32_t repedge_dsp_pack(int32_t low, int32_t high)
{
    return ((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16);
}

/* Four bytes from any address. */
static inline uint32_t repedge_dsp_load(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static inline void repedge_dsp_store(void *to, uint32_t word)
{
    memcpy(to, &word, sizeof word);
}

/* int16 lanes: offset + bytes 0 and 2 of a word, and offset + bytes 1 and 3. */
static inline uint32_t repedge_dsp_even_bytes(uint32_t offset, uint32_t bytes)
{
    uint32_t lanes;
    __asm("sxtab16 %0, %1, %2" : "=r"(lanes) : "r"(offset), "r"(bytes));
    return lanes;
}

static inline uint32_t repedge_dsp_odd_bytes(uint32_t offset, uint32_t bytes)
{
    uint32_t lanes;
    __asm("sxtab16 %0, %1, %2, ror #8" : "=r"(lanes) : "r"(offset), "r"(bytes));
    return lanes;
}

#endif
