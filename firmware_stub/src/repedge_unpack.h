/* Packed weights, version 2: a little-endian bit stream per output channel (convert/packing.py).
 *
 *     3-bit indices a b c d …, as they lie in a row:
 *     byte 0   bit 7 [c1 c0 b2 b1 b0 a2 a1 a0] bit 0
 *     byte 1   bit 7 [f0 e2 e1 e0 d2 d1 d0 c2] bit 0
 *
 * A row ends with zero bits up to a whole byte. At eight bits a byte is the weight itself.
 */
#ifndef REPEDGE_UNPACK_H
#define REPEDGE_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "repedge_model.h"

typedef struct {
    const uint8_t *next; /* first byte not yet read */
    uint32_t pending;    /* bits read and not yet used, the next index lowest */
    uint32_t bits;       /* how many they are, 0..7 between two indices */
} repedge_bit_reader_t;

/* Bytes of a packed row of `count` indices. */
static inline size_t repedge_row_bytes(size_t count, uint32_t bit_width)
{
    return (count * bit_width + 7u) / 8u;
}

/* The next index; bit_width <= 8, so one more byte is always enough. */
static inline uint32_t repedge_next_index(repedge_bit_reader_t *reader, uint32_t bit_width)
{
    if (reader->bits < bit_width) {
        reader->pending |= (uint32_t)*reader->next++ << reader->bits;
        reader->bits += 8u;
    }
    const uint32_t index = reader->pending & ((1u << bit_width) - 1u);
    reader->pending >>= bit_width;
    reader->bits -= bit_width;
    return index;
}

/* The next weight of a layer. */
static inline int32_t repedge_next_weight(repedge_bit_reader_t *reader,
                                          const repedge_layer_t *layer)
{
    const uint32_t symbol = repedge_next_index(reader, layer->bit_width);
    return layer->bit_width == REPEDGE_PLAIN_BITS ? (int8_t)symbol : layer->codebook[symbol];
}

#endif
