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
    return Schedule(vector, largest_divisor(shape.output_hwc[1], pixels), channels)


def schedules(conv: QuantizedConv, shape: LayerShape, vector: VectorName) -> Iterator[Schedule]:
    """Every schedule worth a try for this layer, the default first."""
    default = default_schedule(conv, shape, vector)
    yield default
    if default.vector == "portable":
        return
    width, out_channels = shape.output_hwc[1:]
    for channels in (4, 8, 16):
        for pixels in range(1, 9):
            fits = pixels * channels <= ACCUMULATORS_MAX[vector]
            if width % pixels or out_channels % channels or not fits:
                continue
            for unroll in (1, 2, 4, 6):
                schedule = Schedule(vector, pixels, channels, unroll)
                if schedule != default:
                    yield schedule
