"""Packed indices: b bits each, in one little-endian bit stream per output channel.

Byte layout (version 1), one row per output channel, rows concatenated:

    bit k of a row  = bit (k mod b) of index (k div b)        least significant bit first
    byte j of a row = bits 8j .. 8j+7, bit 8j being the least significant
    a row is padded with zero bits to a whole byte: row_bytes = ceil(count · b / 8)

Indices of a row run in (ky, kx, i) order for a convolution (OHWI) and in i order for a fully connected layer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def row_bytes(count: int, bit_width: int) -> int:
    """Bytes of one packed row of `count` indices."""
    return (count * bit_width + 7) // 8


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
