/* Weights of a strip from packed symbols.
 *
 * A pair step holds eight of them, two of each of four output channels, so it takes bit_width whole
 * bytes whatever the width. Up to four bits a table of all pairs gives both weights at once; above,
 * each index is looked up in the codebook; eight bits are the weight itself. */
#include "repedge_dsp.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { MAX_TABLE_BITS = 4 };

/* Both halves doubled: -254..254 each. */
ALWAYS_INLINE uint32_t doubled_pair(int32_t low, int32_t high)
{
    return repedge_dsp_pack(2 * low, 2 * high);
}

/* The first line of the table holds the low weights alone, until the others are made from it. */
void repedge_dsp_build_table(const repedge_layer_t *layer, uint32_t *table)
{
    const uint32_t entries = 1u << layer->bit_width;
    if (layer->bit_width > MAX_TABLE_BITS) {
        return;
    }
    for (uint32_t low = 0; low < entries; ++low) {
        table[low] = doubled_pair(layer->codebook[low], 0);
    }
    for (uint32_t high = entries; high-- > 0u;) {
        const uint32_t added = doubled_pair(0, layer->codebook[high]);
        for (uint32_t low = 0; low < entries; low += 4u) {
            for (uint32_t k = 0; k < 4u; ++k) {
                table[high * entries + low + k] = table[low + k] + added;
            }
        }
    }
}

/* Four-bit indices: a byte is a pair. */
static void decode_bytes(const uint8_t *indices, size_t steps, uint32_t *weights,
                         const uint32_t *table)
{
    __asm volatile("1: ldr r6, [%[indices]], #4\n"
                   "uxtb r3, r6\n"
                   "ubfx r4, r6, #8, #8\n"
                   "ubfx r5, r6, #16, #8\n"
                   "lsr r6, r6, #24\n"
                   "ldr r3, [%[table], r3, lsl #2]\n"
                   "ldr r4, [%[table], r4, lsl #2]\n"
                   "ldr r5, [%[table], r5, lsl #2]\n"
                   "ldr r6, [%[table], r6, lsl #2]\n"
                   "subs %[steps], %[steps], #1\n"
                   "stmia %[weights]!, {r3, r4, r5, r6}\n"
                   "bne 1b"
                   : [indices] "+r"(indices), [weights] "+r"(weights), [steps] "+r"(steps)
                   : [table] "r"(table)
                   : "r3", "r4", "r5", "r6", "cc", "memory");
}

/* The bytes of a step, in one word; never a byte past them. */
ALWAYS_INLINE uint32_t load_step(const uint8_t *indices, uint32_t bit_width)
{
    uint16_t half;
    memcpy(&half, indices, sizeof half);
    return bit_width == 2u ? half : half | (uint32_t)indices[2] << 16;
}

ALWAYS_INLINE void decode_pairs(const uint8_t *indices, uint32_t bit_width, size_t steps,
                                uint32_t *weights, const uint32_t *table)
{
    const uint32_t bits = 2u * bit_width, mask = (1u << bits) - 1u;
    for (; steps > 0u; --steps) {
        const uint32_t step = load_step(indices, bit_width);
        const uint32_t pair0 = table[step & mask];
        const uint32_t pair1 = table[(step >> bits) & mask];
        const uint32_t pair2 = table[(step >> (2u * bits)) & mask];
        const uint32_t pair3 = table[step >> (3u * bits)];
        indices += bit_width;
        weights[0] = pair0;
        weights[1] = pair1;
        weights[2] = pair2;
        weights[3] = pair3;
        weights += DSP_GROUP;
    }
}

/* Two channels' pairs from four indices, the next one lowest. */
static inline void decode_four(uint32_t indices, uint32_t bit_width, uint32_t *weights,
                               const int8_t *codebook)
{
    const uint32_t mask = (1u << bit_width) - 1u;
    for (uint32_t channel = 0; channel < 2u; ++channel) {
        const int32_t low = codebook[indices & mask];
        indices >>= bit_width;
        const int32_t high = codebook[indices & mask];
        indices >>= bit_width;
        weights[channel] = doubled_pair(low, high);
    }
}

/* Indices of five to seven bits: the first four lie in a step's first word, the others at the end
 * of its last one. */
static void decode_singles(const uint8_t *indices, uint32_t bit_width, size_t steps,
                           uint32_t *weights, const int8_t *codebook)
{
    for (; steps > 0u; --steps) {
        const uint32_t first = repedge_dsp_load(indices);
        const uint32_t last = repedge_dsp_load(indices + bit_width - 4u);
        decode_four(first, bit_width, weights, codebook);
        decode_four(last >> (32u - 4u * bit_width), bit_width, weights + 2, codebook);
        indices += bit_width;
        weights += DSP_GROUP;
    }
}

/* Bytes that are the weights: w0 w1 of one channel, w2 w3 of the next. SXTB16 gives the even and
 * the odd ones; UADD16 doubles both halves of a word. */
static void decode_plain(const uint8_t *indices, size_t steps, uint32_t *weights)
{
    __asm volatile("1: ldr r3, [%[indices]], #4\n"
                   "ldr r4, [%[indices]], #4\n"
                   "sxtb16 r5, r3\n"
                   "sxtb16 r6, r3, ror #8\n"
                   "sxtb16 r3, r4\n"
                   "sxtb16 r4, r4, ror #8\n"
                   "uadd16 r5, r5, r5\n"
                   "uadd16 r6, r6, r6\n"
                   "uadd16 r3, r3, r3\n"
                   "uadd16 r8, r4, r4\n"
                   "pkhbt r4, r5, r6, lsl #16\n"
                   "pkhtb r5, r6, r5, asr #16\n"
                   "pkhbt r6, r3, r8, lsl #16\n"
                   "pkhtb r8, r8, r3, asr #16\n"
                   "subs %[steps], %[steps], #1\n"
                   "stmia %[weights]!, {r4, r5, r6, r8}\n"
                   "bne 1b"
                   : [indices] "+r"(indices), [weights] "+r"(weights), [steps] "+r"(steps)
                   :
                   : "r3", "r4", "r5", "r6", "r8", "cc", "memory");
}

void repedge_dsp_decode(const repedge_layer_t *layer, const uint8_t *indices, size_t steps,
                        uint32_t *weights, const uint32_t *table)
{
    switch (layer->bit_width) {
    case 2:
        decode_pairs(indices, 2u, steps, weights, table);
        return;
    case 3:
        decode_pairs(indices, 3u, steps, weights, table);
        return;
    case 4:
        decode_bytes(indices, steps, weights, table);
        return;
    case REPEDGE_PLAIN_BITS:
        decode_plain(indices, steps, weights);
        return;
    default:
        decode_singles(indices, layer->bit_width, steps, weights, layer->codebook);
    }
}
