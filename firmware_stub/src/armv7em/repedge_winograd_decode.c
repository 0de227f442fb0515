/* From packed indices to pairs of weights.
 *
 * The stream's order: a block of four output channels, a pair of input channels, an output channel of
 * the block, a tap (kx, ky), a member of the pair. A block's pair of input channels takes 72 indices,
 * a whole number of bytes for every bit width. */
#include "../repedge_unpack.h"
#include "repedge_winograd.h"

enum { PAIRS = WINOGRAD_LANES * WINOGRAD_TAPS };

static inline uint32_t pack_pair(int32_t low, int32_t high)
{
    return ((uint32_t)low & 0xffffu) | ((uint32_t)high << 16);
}

void repedge_winograd_pair_table(const repedge_layer_t *layer, uint32_t *table)
{
    const uint32_t entries = 1u << layer->bit_width;
    for (uint32_t high = 0; high < entries; ++high) {
        for (uint32_t low = 0; low < entries; ++low) {
            *table++ = pack_pair(layer->codebook[low], layer->codebook[high]);
        }
    }
}

/* Index pairs of four bits fill bytes: no bits to count. */
static void decode_bytes(const uint32_t *table, const uint8_t *stream, uint32_t *taps)
{
    for (uint32_t k = 0; k < PAIRS; k += 4u) {
        taps[k] = table[stream[k]];
        taps[k + 1u] = table[stream[k + 1u]];
        taps[k + 2u] = table[stream[k + 2u]];
        taps[k + 3u] = table[stream[k + 3u]];
    }
}

static void decode_pairs(const uint32_t *table, const uint8_t *stream, uint32_t *taps,
                         uint32_t pair_bits)
{
    repedge_bit_reader_t reader = {stream, 0u, 0u};
    for (uint32_t k = 0; k < PAIRS; ++k) {
        taps[k] = table[repedge_next_index(&reader, pair_bits)];
    }
}

static void decode_singles(const int8_t *codebook, const uint8_t *stream, uint32_t *taps,
                           uint32_t bit_width)
{
    repedge_bit_reader_t reader = {stream, 0u, 0u};
    for (uint32_t k = 0; k < PAIRS; ++k) {
        const int32_t low = codebook[repedge_next_index(&reader, bit_width)];
        taps[k] = pack_pair(low, codebook[repedge_next_index(&reader, bit_width)]);
    }
}

void repedge_winograd_decode(const repedge_layer_t *layer, const uint32_t *table,
                             const uint8_t *stream, uint32_t *taps)
{
    if (layer->bit_width == 4u) {
        decode_bytes(table, stream, taps);
    } else if (layer->bit_width < 4u) {
        decode_pairs(table, stream, taps, 2u * layer->bit_width);
    } else {
        decode_singles(layer->codebook, stream, taps, layer->bit_width);
    }
}
