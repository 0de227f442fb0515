"""Ethos-U85's fast weight format, which Vela chooses where the plain format would decode too slowly.

Bits run from the lowest of each byte; the stream fills up to a multiple of 256 bits:

    bit 0              values are plain bytes
    bit 1              the palette has at most 4 entries
    bits 2 … 103       zeros
    bits 104 … 111     offset, signed: stored byte = value + offset
    bits 112 … 255     16 palette entries of 9 bits: the lowest the sign, the others the magnitude
    bits 256 …         one value after the other: 8 bits (plain), 2 (small palette) or 4 (palette)

The number of values is not in it: it follows from the kernel's shape. The pinned `mlw_codec` decodes only the plain format.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HEADER_BITS = 256
OFFSET_BIT, PALETTE_BIT, PALETTE_ENTRIES, ENTRY_BITS = 104, 112, 16, 9


def decode_fast(stream: NDArray[np.uint8], count: int) -> NDArray[np.int16]:
    """The first `count` values of a stream; `ValueError` where it is too short to hold them."""
    bits = np.unpackbits(stream, bitorder="little")
    if bits.size < HEADER_BITS:
        raise ValueError(f"{stream.size} bytes, the header alone has {HEADER_BITS // 8}")
    width = 8 if bits[0] else 2 if bits[1] else 4
    content = bits[HEADER_BITS : HEADER_BITS + count * width]
    if content.size < count * width:
        raise ValueError(f"{stream.size} bytes are too few for {count} values of {width} bits")
    codes = _numbers(content, width)
    if not bits[0]:
        return _palette(bits)[codes]
    offset = _numbers(bits[OFFSET_BIT:PALETTE_BIT], 8).astype(np.uint8).view(np.int8)[0]
    return codes.astype(np.uint8).view(np.int8).astype(np.int16) - np.int16(offset)


def _palette(bits: NDArray[np.uint8]) -> NDArray[np.int16]:
    folded = _numbers(bits[PALETTE_BIT : PALETTE_BIT + PALETTE_ENTRIES * ENTRY_BITS], ENTRY_BITS)
    return np.where(folded & 1, -(folded >> 1), folded >> 1).astype(np.int16)


def _numbers(bits: NDArray[np.uint8], width: int) -> NDArray[np.int64]:
    """Unsigned numbers of `width` bits each, lowest bit first."""
    numbers: NDArray[np.int64] = (bits.reshape(-1, width).astype(np.int64) << np.arange(width)).sum(axis=1)
    return numbers
