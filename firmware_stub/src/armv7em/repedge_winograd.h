/* Exact integer Winograd convolution, F(2x2, 3x3) and F(4x4, 3x3), stride 1: what its parts share.
 *
 * A tile of m x m outputs comes from a patch of (m + 2) x (m + 2) inputs, m = 2 or 4. Three steps
 * per tile, each linear, over P = (m + 2)^2 positions:
 *     V = B' d B           of the patch d (input - zero point), per input channel
 *     U = G g G'           of the kernel g, per pair of input and output channel
 *     M = sum over input channels of U * V, then Y = A' M A
 * G and A hold whole numbers only, so Y is a known multiple of the convolution modulo 2^32, and the
 * division is exact; convert/winograd.py proves per layer that nothing leaves its type. Weights are
 * doubled, since requantization wants twice the sum.
 *
 * Channels go in pairs, two int16 in one 32-bit word, for SMLAD: pair 2q holds the channels 4q
 * (low) and 4q + 2 (high), pair 2q + 1 holds 4q + 1 and 4q + 3. Layouts, in words:
 *     U[pair][position][output channel of 4]
 *     V[pair][position][tile of 2]
 *     M[position][output channel of 4][tile of 2] */
#ifndef REPEDGE_WINOGRAD_H
#define REPEDGE_WINOGRAD_H

#include "repedge_dsp.h"
#include "repedge_kernels.h"

/* Output channels, and tiles, that are multiplied at once; taps of the kernel. */
enum { WINOGRAD_LANES = 4, WINOGRAD_TILES = 2, WINOGRAD_TAPS = 9, WINOGRAD_POSITIONS_MAX = 36 };

/* A pair of input channels and four output channels take nine steps of repedge_dsp_decode: the
 * order of the indices is output channel of four, tap (kx, ky), weight of the pair. */
enum { WINOGRAD_STEPS = 9 };

/* The patch of one tile: int8 pixels, channels innermost. */
typedef struct {
    uint32_t pixel_stride; /* bytes from a pixel to the one at its right */
    uint32_t row_stride;   /* bytes from a pixel to the one below */
    uint32_t quads;        /* groups of four channels */
    int32_t zero_point;    /* of the input */
} winograd_patch_t;

/* Requantization of one output channel, prepared once:
 * (high(2 * sum * multiplier, rounded) + offset - (sum < 0)) >> shift, then clamped to int8. */
typedef struct {
    int32_t bias_twice;
    int32_t multiplier;
    int32_t offset; /* half of 2^shift, plus the output's zero point shifted left */
    int32_t shift;  /* to the right, 0..22 */
} winograd_channel_t;

/* One of the two transforms. */
typedef struct {
    uint32_t outputs;   /* per side of a tile */
    uint32_t positions; /* (outputs + 2)^2 */
    uint32_t tile_cost; /* of transforming a tile; an output channel's weights cost 2 */

    /* U of one pair of input channels and four output channels. `taps` holds nine words per output
     * channel, (kx, ky), each a pair of doubled weights. */
    void (*weights)(const uint32_t *taps, uint32_t *u);

    /* V of one tile, for every input channel. */
    void (*input)(const int8_t *patch, uint32_t *v, const winograd_patch_t *shape);

    /* M = sum of U * V over the pairs, modulo 2^32; the number of pairs is even. */
    void (*multiply)(const uint32_t *u, const uint32_t *v, int32_t *m, uint32_t pairs);

    /* int8 outputs of one tile and four output channels; `m` starts at the tile's first word. */
    void (*output)(const int32_t *m, const winograd_channel_t *channels, int8_t *output,
                   const winograd_patch_t *shape);
} winograd_transform_t;

/* The two sets of steps: assembly on Armv7E-M, plain C elsewhere, with equal results. */
void repedge_winograd2_weights(const uint32_t *taps, uint32_t *u);
void repedge_winograd2_input(const int8_t *patch, uint32_t *v, const winograd_patch_t *shape);
void repedge_winograd2_multiply(const uint32_t *u, const uint32_t *v, int32_t *m, uint32_t pairs);
void repedge_winograd2_output(const int32_t *m, const winograd_channel_t *channels, int8_t *output,
                              const winograd_patch_t *shape);
void repedge_winograd4_weights(const uint32_t *taps, uint32_t *u);
void repedge_winograd4_input(const int8_t *patch, uint32_t *v, const winograd_patch_t *shape);
void repedge_winograd4_multiply(const uint32_t *u, const uint32_t *v, int32_t *m, uint32_t pairs);
void repedge_winograd4_output(const int32_t *m, const winograd_channel_t *channels, int8_t *output,
                              const winograd_patch_t *shape);

/* The whole convolution. Scratch: a table of weight pairs where an index has at most four bits, M,
 * constants and U of layer->strip_channels, and V of as many pairs of tiles as layer->scratch_bytes
 * leaves room for, at least one, or it is refused. With room for all, the output may overlap the
 * input. */
repedge_status_t repedge_winograd(const repedge_layer_t *layer,
                                  const winograd_transform_t *transform, const int8_t *input,
                                  int8_t *scratch, int8_t *output);

/* The clamps of a layer that are narrower than int8, on its whole output. */
void repedge_winograd_clamp(const repedge_layer_t *layer, int8_t *output);

#endif
