"""Packed symbols to weights, 16 at a time, by vector look-ups: the codebook lies in registers.

Bits are as in `convert.packing`. No byte past the packed array is read: the last loads begin earlier and are shifted.
"""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as T

from convert.tvm_vector import LANES, VectorSet, constant, load, spread


def codebook_tables(codebook: Any, bit_width: int) -> list[Any]:
    """The codebook's 2^b entries as int8x16 tables; one of 4 or 8 entries is repeated to fill its table."""
    if bit_width == 2:
        return [T.reinterpret("int8x16", spread(T.reinterpret("int32", load(codebook, 0, 4)), 4))]
    if bit_width == 3:
        half = load(codebook, 0, 8)
        return [T.vectorcombine("int8x16", half, half)]
    return [load(codebook, start) for start in range(0, 2**bit_width, LANES)]


def unpacked_indices(
    vectors: VectorSet, packed: Any, packed_bytes: int, start: Any, bit_width: int, *, whole: bool
) -> Any:
    """uint8x16: the 16 indices whose bits begin at byte `start`; `whole` where every row holds whole vectors of them."""
    if bit_width == 4 and whole:
        return _nibbles(load(packed, start, 8))
    content, late = _content(packed, packed_bytes, start)
    return T.vectorcombine("uint8x16", *(_window_indices(vectors, content, late, bit_width, half) for half in range(2)))


def plain_weights(vectors: VectorSet, packed: Any, packed_bytes: int, start: Any, *, whole: bool) -> Any:
    """int8x16: the 16 weights of a plain layer at byte `start`; what lies past the packed array is zero."""
    if whole:
        return T.reinterpret("int8x16", load(packed, start))
    content, late = _content(packed, packed_bytes, start)
    return vectors.look_up([content], constant(range(LANES), "uint8") + spread(late, LANES))


def _content(packed: Any, packed_bytes: int, start: Any) -> tuple[Any, Any]:
    """uint8x16 that holds the bytes from `start` on, and how many bytes late they begin in it."""
    first = T.min(start, packed_bytes - LANES)
    return load(packed, first), T.Cast("uint8", start - first)


def _nibbles(content: Any) -> Any:
    low, high = content & spread(T.uint8(15), 8), content >> spread(T.uint8(4), 8)
    return T.Shuffle([low, high], [T.int32(lane // 2 + 8 * (lane % 2)) for lane in range(LANES)])


def _window_indices(vectors: VectorSet, content: Any, late: Any, bit_width: int, half: int) -> Any:
    """uint8x8: indices 8·half … 8·half + 7, each cut out of the two bytes that hold its bits."""
    bits = [(8 * half + lane) * bit_width for lane in range(8)]
    order = constant([byte for bit in bits for byte in (bit // 8, bit // 8 + 1)], "uint8") + spread(late, LANES)
    windows = T.reinterpret("uint16x8", vectors.look_up([content], order))
    shifted = windows >> constant([bit % 8 for bit in bits], "uint16")
    return T.Cast("uint8x8", shifted & spread(T.uint16(2**bit_width - 1), 8))
