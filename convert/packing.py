"""Packed weights: b-bit symbols, in one little-endian bit stream per output channel.

A symbol is the index of a codebook entry, and the table of 2^b int8 entries lies beside the rows; or, at 8 bits, the int8
weight itself in two's complement, without a table. A layer takes the form of fewer bytes (`is_plain`): both decode to the
same weights. Layers of 8 bits are always plain, those of 5 to 7 bits where the table outweighs the bits it saves (at 7 bits
below 1,024 weights, at 6 below 256, at 5 below 86). Fewer bits keep their codebook, however small the layer.

Byte layout (version 2; version 1 had a table at 8 bits too), one row per output channel, rows concatenated:

    bit k of a row  = bit (k mod b) of symbol (k div b)       least significant bit first
    byte j of a row = bits 8j .. 8j+7, bit 8j being the least significant
    a row is padded with zero bits to a whole byte: row_bytes = ceil(count · b / 8)

Symbols of a row run in (ky, kx, i) order for a convolution (OHWI) and in i order for a fully connected layer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VERSION = 2
PLAIN_BITS = 8
LEAST_PLAIN_BITS = 5  # below, kernels may rely on the codebook


def row_bytes(count: int, bit_width: int) -> int:
    """Bytes of one packed row of `count` indices."""
    return (count * bit_width + 7) // 8


def is_plain(channels: int, count: int, bit_width: int) -> bool:
    """Whether `channels` rows of `count` weights are stored as int8 values, without a codebook.

    >>> [is_plain(8, 27, bits) for bits in (4, 5, 6, 8)]
    [False, False, True, True]
    """
    with_codebook = channels * row_bytes(count, bit_width) + 2**bit_width
    return bit_width == PLAIN_BITS or (bit_width >= LEAST_PLAIN_BITS and channels * count <= with_codebook)


def packed_weight_bytes(channels: int, count: int, bit_width: int) -> int:
    """Bytes of a layer's rows, with its codebook where it has one."""
    if is_plain(channels, count, bit_width):
        return channels * count
    return channels * row_bytes(count, bit_width) + 2**bit_width


def pack_indices(indices: NDArray[np.uint8], bit_width: int) -> NDArray[np.uint8]:
    """(O, …) indices below 2^bit_width -> (O, row_bytes) packed rows.

    >>> pack_indices(np.array([[1, 2, 3, 0, 1]], np.uint8), 2).tolist()
    [[57, 1]]
    """
    if not 1 <= bit_width <= 8:
        raise ValueError(f"bit_width {bit_width}, allowed 1 to 8")
    if indices.size and int(indices.max()) >> bit_width:
        raise ValueError(f"index {int(indices.max())} does not fit in {bit_width} bits")
    rows = indices.reshape(indices.shape[0], -1)
    bits = (rows[:, :, None] >> np.arange(bit_width, dtype=np.uint8)) & 1  # (O, count) -> (O, count, b)
    return np.packbits(bits.reshape(rows.shape[0], -1).astype(np.uint8), axis=1, bitorder="little")


def unpack_indices(packed: NDArray[np.uint8], bit_width: int, count: int) -> NDArray[np.uint8]:
    """Inverse of `pack_indices`: (O, row_bytes) -> (O, count)."""
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, : count * bit_width]
    weights = (1 << np.arange(bit_width)).astype(np.uint8)
    return (bits.reshape(packed.shape[0], count, bit_width) * weights).sum(axis=2).astype(np.uint8)
