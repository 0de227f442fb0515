/* What a model's tables look like. model_data.c, written by convert/c_source.py, fills them in. */
#ifndef REPEDGE_MODEL_H
#define REPEDGE_MODEL_H

#include "repedge.h"

/* Version of the packed weights' layout (see repedge_unpack.h). */
#define REPEDGE_PACKING_VERSION 2u

/* At this bit width the packed symbols are the int8 weights and there is no codebook. */
#define REPEDGE_PLAIN_BITS 8u

/* True where two byte ranges of the arena do not touch; the tables assert it for every layer. */
#define REPEDGE_APART(a, a_bytes, b, b_bytes) ((a) + (a_bytes) <= (b) || (b) + (b_bytes) <= (a))

typedef enum {
    REPEDGE_CONV3X3 = 0,        /* 3x3 convolution, padding 1, stride 1 or 2, ReLU */
    REPEDGE_AVERAGE_POOL = 1,   /* global average pooling */
    REPEDGE_FULLY_CONNECTED = 2 /* the classifier; its output is the caller's */
} repedge_kind_t;

/* Which convolution a layer's tables are written for: the order of its indices, its scratch. */
typedef enum {
    REPEDGE_KERNEL_PORTABLE = 0,      /* src/, every core; indices in rows of an output channel */
    REPEDGE_KERNEL_DSP_DIRECT = 1,    /* src/armv7em/, four or more input channels */
    REPEDGE_KERNEL_DSP_FIRST = 2,     /* src/armv7em/, few or odd input channels */
    REPEDGE_KERNEL_DSP_WINOGRAD2 = 3, /* src/armv7em/, stride 1, 2x2 outputs at once */
    REPEDGE_KERNEL_DSP_WINOGRAD4 = 4, /* src/armv7em/, stride 1, 4x4 outputs at once */
    REPEDGE_KERNEL_MVE_DIRECT = 5,    /* src/armv81m_mve/ */
    REPEDGE_KERNEL_MVE_FIRST = 6      /* src/armv81m_mve/, few input channels */
} repedge_kernel_t;

typedef struct repedge_layer repedge_layer_t;

/* A convolution: int8 input and output, `scratch` of layer->scratch_bytes, aligned as the arena;
 * with less than it needs it writes nothing and returns REPEDGE_SMALL_SCRATCH. The table points to
 * it, so that only the kernels a model uses are linked. */
typedef repedge_status_t repedge_convolve_t(const repedge_layer_t *layer, const int8_t *input,
                                            int8_t *scratch, int8_t *output);

/* Sizes of a tensor without N. */
typedef struct {
    uint16_t height;
    uint16_t width;
    uint16_t channels;
} repedge_shape_t;

/* One layer. A weight is codebook[symbol], or at eight bits the symbol; an activation is real =
 * scale * (q - zero_point). */
struct repedge_layer {
    repedge_convolve_t *convolve; /* NULL where the layer is not a convolution */
    const uint8_t *indices;       /* packed symbols, in the kernel's order */
    const int8_t *codebook;       /* 2^bit_width entries, -127..127; NULL at eight bits */
    const int32_t *bias;          /* per output channel, at input_scale * weight_scale */
    const int32_t *multiplier;    /* per output channel, 0 or 2^30..2^31-1 */
    const int8_t *shift;          /* per output channel, -31..30; positive shifts left */
    uint32_t input_offset;        /* bytes into the arena */
    uint32_t output_offset;       /* bytes into the arena; unused for the classifier */
    uint32_t scratch_offset;      /* bytes into the arena: what the kernel works in */
    uint32_t scratch_bytes;       /* how much of it */
    repedge_shape_t input;
    repedge_shape_t output;
    uint16_t strip_channels;  /* output channels whose weights are decoded at once */
    uint8_t kind;             /* repedge_kind_t */
    uint8_t kernel;           /* repedge_kernel_t; of a convolution */
    uint8_t stride;           /* 1 or 2 */
    uint8_t bit_width;        /* of one symbol, 2..8; 0 without weights */
    int8_t input_zero_point;  /* subtracted from the input; padding holds it */
    int8_t output_zero_point; /* added after requantization */
    int8_t clamp_min;         /* lowest output */
    int8_t clamp_max;         /* highest output */
};

struct repedge_model {
    const repedge_layer_t *layers; /* the convolutions, the pool, the classifier */
    const char *const *class_names;
    uint32_t layer_count;
    uint32_t class_count;
    uint32_t arena_bytes;
    uint32_t input_offset; /* bytes into the arena */
    uint32_t packing_version;
};

#endif
