/* The kernels: one per file in src/. The portable version defines the result; a faster one for a
 * core's instruction set lies in src/<instruction set>/ and must give the same bits. */
#ifndef REPEDGE_KERNELS_H
#define REPEDGE_KERNELS_H

#include "repedge_model.h"

/* Output channels whose weights the portable kernel decodes at once. */
#define REPEDGE_STRIP_CHANNELS 4u

/* Bytes of scratch of repedge_conv3x3_s8: a strip of int8 weights. */
#define REPEDGE_CONV3X3_SCRATCH_BYTES(input_channels)                                              \
    (REPEDGE_STRIP_CHANNELS * 9u * (input_channels))

/* 3x3 convolution, padding 1: int8 (H, W, I) -> int8 (H', W', O). The tensors do not overlap. */
repedge_convolve_t repedge_conv3x3_s8;

/* The same for Armv7E-M and later, four output channels x two pixels at once;
 * convert/kernels_dsp.py says which layers they take and how much scratch. */
repedge_convolve_t repedge_conv3x3_s8_direct;
repedge_convolve_t repedge_conv3x3_s8_first;

/* The same at stride 1 by exact integer Winograd transforms, 2x2 or 4x4 outputs at once, with the
 * weights transformed on the fly; convert/kernels_winograd.py likewise. */
repedge_convolve_t repedge_conv3x3_s8_winograd2;
repedge_convolve_t repedge_conv3x3_s8_winograd4;

/* The same for Armv8.1-M with MVE, two output channels x four pixels at once;
 * convert/kernels_mve.py likewise. */
repedge_convolve_t repedge_conv3x3_s8_mve_direct;
repedge_convolve_t repedge_conv3x3_s8_mve_first;

/* Global average: int8 (H, W, C) -> int8 (C); sum / count, half away from zero. */
void repedge_average_pool_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output);

/* Fully connected: int8 (I) -> int8 (O). */
void repedge_fully_connected_s8(const repedge_layer_t *layer, const int8_t *input, int8_t *output);

#endif
