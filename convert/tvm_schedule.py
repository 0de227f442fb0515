"""How a convolution is computed: the parameters of a schedule, and which schedules a layer and a target allow.

`portable` is the kernel of `convert.tvm_kernels` for any processor. The vector schedules (`convert.tvm_rows`) hold
`pixels` × `channels` partial sums in registers and go through the weights `unroll` vectors at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from convert.integer_model import LayerShape, QuantizedConv
from convert.packing import row_bytes

VectorName = Literal["portable", "neon", "neon_dot", "neon32"]

# vector registers that may hold partial sums: the others hold operands and products
ACCUMULATORS_MAX: dict[str, int] = {"neon": 20, "neon_dot": 24, "neon32": 8}
DEFAULT_TILE: dict[str, tuple[int, int]] = {"neon": (4, 4), "neon_dot": (4, 4), "neon32": (2, 4)}

TILE_CHANNELS = (4, 8, 16)
TILE_PIXELS_MAX = 8
UNROLL_MAX = 6


@dataclass(frozen=True)
class Schedule:
    """One layer's schedule. Of a portable one only `vector` counts."""

    vector: VectorName = "portable"
    pixels: int = 4
    channels: int = 4
    unroll: int = 4

    def __post_init__(self) -> None:
        if self.pixels < 1 or self.channels < 4 or self.channels % 4 or self.unroll < 1:
            raise ValueError(f"{self}: pixels and unroll from 1, channels in fours are allowed")


PORTABLE = Schedule()


def largest_divisor(value: int, limit: int) -> int:
    """The largest divisor of `value` that is at most `limit`."""
    return max(size for size in range(1, limit + 1) if value % size == 0)


def loop_vectors(shape: LayerShape) -> int:
    """Vectors of 16 that the innermost loop goes through: a window's row, or all of it where windows are copied together."""
    channels = shape.input_hwc[2]
    return 3 * channels // 16 if channels % 16 == 0 else -(-9 * channels // 16)


def is_vectorisable(conv: QuantizedConv, vector: VectorName) -> bool:
    """Whether the vector schedules can compute this layer: channels in fours, one whole vector of packed indices."""
    channels = conv.indices.shape[0]
    packed_bytes = channels * row_bytes(conv.indices[0].size, conv.bit_width)
    return vector != "portable" and channels % 4 == 0 and packed_bytes >= 16


def default_schedule(conv: QuantizedConv, shape: LayerShape, vector: VectorName) -> Schedule:
    """The schedule used where none was tuned."""
    if not is_vectorisable(conv, vector):
        return PORTABLE
    pixels, channels = DEFAULT_TILE[vector]
    unroll = largest_divisor(loop_vectors(shape), UNROLL_MAX)
    return Schedule(vector, largest_divisor(shape.output_hwc[1], pixels), channels, unroll)


def schedules(conv: QuantizedConv, shape: LayerShape, vector: VectorName) -> Iterator[Schedule]:
    """Every schedule worth a try for this layer, the default first, then by how near the tile is to the usual size."""
    default = default_schedule(conv, shape, vector)
    yield default
    if default.vector == "portable":
        return
    width, out_channels = shape.output_hwc[1:]
    found = [
        Schedule(vector, pixels, channels, unroll)
        for channels in TILE_CHANNELS
        for pixels in range(1, TILE_PIXELS_MAX + 1)
        for unroll in range(1, UNROLL_MAX + 1)
        if width % pixels == 0
        and out_channels % channels == 0
        and pixels * channels <= ACCUMULATORS_MAX[vector]
        and loop_vectors(shape) % unroll == 0
    ]
    usual = DEFAULT_TILE[vector][0] * DEFAULT_TILE[vector][1]
    found.sort(key=lambda schedule: (abs(schedule.pixels * schedule.channels - usual), -schedule.unroll))
    yield from (schedule for schedule in found if schedule != default)
