"""What the converter knows of a convolution kernel of `firmware_stub`: where it runs, what it needs, what it costs.

A kernel reads the same b-bit indices as every other, in an order of its own: `order` gives for each place of the packed
stream the flat OHWI position of the index that stands there, or −1 for padding. So one table serves writing and reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import LayerShape, QuantizedConv
from convert.packing import pack_indices, row_bytes, unpack_indices

Order = Callable[[int, int], NDArray[np.int64]]  # (O, I) -> (rows, count)


def never_in_place(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> bool:
    """Of a kernel that still reads its input when it has begun to write its output."""
    return False


@dataclass(frozen=True)
class ConvKernel:
    """One kernel. `obstacle` says why it cannot run a layer, or None; `strip_choices` are output channels decoded at once."""

    name: str
    constant: str  # of repedge_kernel_t
    function: str  # C function with the signature of repedge_conv3x3_s8
    cores: frozenset[str]  # of deploy/targets.py; empty: every core and the host
    obstacle: Callable[[QuantizedConv, LayerShape], str | None]
    strip_choices: Callable[[QuantizedConv, LayerShape], tuple[int, ...]]
    scratch_bytes: Callable[[QuantizedConv, LayerShape, int], int]
    instructions: Callable[[QuantizedConv, LayerShape, int], float]  # estimated, for choosing; fitted to emulation
    order: Order
    in_place: Callable[[QuantizedConv, LayerShape, int], bool] = never_in_place  # the output may overlap the input

    def runs_on(self, core: str | None) -> bool:
        """Whether a core has the instructions; `None` is any core and the host."""
        return not self.cores or core in self.cores


@dataclass(frozen=True)
class KernelChoice:
    """A kernel for one layer. `strip_channels` output channels are decoded at once, into `scratch_bytes`."""

    kernel: ConvKernel
    strip_channels: int
    scratch_bytes: int
    instructions: float
    in_place: bool = False  # the output may overlap the input


def pack_in_order(indices: NDArray[np.uint8], bit_width: int, order: Order) -> NDArray[np.uint8]:
    """(O, 3, 3, I) indices -> (rows, row_bytes) packed in a kernel's order; padding is index 0."""
    positions = order(indices.shape[0], indices.shape[3])
    return pack_indices(np.where(positions < 0, 0, indices.reshape(-1)[positions]).astype(np.uint8), bit_width)


def unpack_in_order(
    packed: NDArray[np.uint8], bit_width: int, order: Order, shape: tuple[int, ...]
) -> NDArray[np.uint8] | None:
    """Inverse of `pack_in_order`: flat bytes -> indices of that shape; None where the size cannot be right."""
    positions = order(shape[0], shape[3])
    rows, count = positions.shape
    if packed.size != rows * row_bytes(count, bit_width):
        return None
    stream = unpack_indices(packed.reshape(rows, -1), bit_width, count)
    indices = np.zeros(int(np.prod(shape)), np.uint8)
    indices[positions[positions >= 0]] = stream[positions >= 0]
    return indices.reshape(shape)
