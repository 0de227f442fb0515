"""The order in which Ethos-U reads the weights of one kernel, and how they are dealt out to its streams.

The weights run over blocks of output channels and, inside each, blocks of input channels. Inside a block, "depth first"
takes all input channels of one kernel element before the next element; "part kernel first" takes the elements of one
small run of input channels first. Innermost are the output channels of a micro-block times `input_unit` input channels.
What does not fill a unit is stored as zeros. Each core has a stream of its own with its share of every micro-block:
every second channel on Ethos-U65-512, groups of four in turn on Ethos-U85.

Ethos-U85 reads kernel rows to and fro, the phases of a strided kernel one after the other (part kernel first only), and
the input blocks of every second output block backwards. Its fast format has one stream, in which the cores' streams
take turns by whole runs. Its sparse format (at most two non-zero weights of every four) reads twice as many channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

PLAIN_FORMAT = 0
FAST_BIT, SPARSE_BIT = 0x01, 0x10  # of Ethos-U85's weight format
U85_MACS = {f"ethos-u85-{macs}": macs for macs in (128, 256, 512, 1024, 2048)}


@dataclass(frozen=True)
class StreamOrder:
    """One kernel's order. Depths in channels; `element_multiple` pads the kernel's elements, part kernel first."""

    cores: int = 1
    core_channels: int = 1  # neighbouring channels that go to one core
    output_unit: int = 8  # of a micro-block, all cores together
    input_unit: int = 8
    depth_first_block: int = 32
    part_kernel_block: int = 16
    part_kernel_run: int = 8
    element_multiple: int = 4
    to_and_fro: bool = False
    fast: bool = False

    @property
    def streams(self) -> int:
        """Streams that hold the weights."""
        return 1 if self.fast else self.cores


_EARLIER = {
    "ethos-u55-32": StreamOrder(output_unit=4),
    "ethos-u55-64": StreamOrder(),
    "ethos-u55-128": StreamOrder(),
    "ethos-u55-256": StreamOrder(),
    "ethos-u65-256": StreamOrder(),
    "ethos-u65-512": StreamOrder(cores=2, output_unit=16),
}
_U85 = StreamOrder(core_channels=4, depth_first_block=64, part_kernel_run=16, element_multiple=5, to_and_fro=True)
_U85_MULTIPLIERS_DEEP = 8  # input channels that each output of a micro-block multiplies at once
_U85_CORES = {128: 1, 256: 1, 512: 2, 1024: 4, 2048: 4}
ACCELERATORS = frozenset({*_EARLIER, *U85_MACS})


def stream_order(accelerator: str, weight_format: int, micro_block_pixels: int) -> StreamOrder | None:
    """The order of one kernel, or None where accelerator or format is unknown.

    `micro_block_pixels` (Ethos-U85) is the area of the micro-block, whose depth then follows from the multipliers.
    """
    if accelerator not in U85_MACS:
        return _EARLIER.get(accelerator) if weight_format == PLAIN_FORMAT else None
    if weight_format & ~(FAST_BIT | SPARSE_BIT):
        return None
    macs = U85_MACS[accelerator]
    depth = macs // (_U85_MULTIPLIERS_DEEP * micro_block_pixels)
    order = replace(_U85, cores=_U85_CORES[macs], output_unit=depth, fast=bool(weight_format & FAST_BIT))
    if weight_format & SPARSE_BIT:
        return replace(order, input_unit=16, depth_first_block=128, element_multiple=10)
    return order


def stream_positions(
    shape_ohwi: tuple[int, ...], order: StreamOrder, *, block_depth: int, part_kernel_first: bool, stride: int
) -> list[NDArray[np.int64]]:
    """For each stream, for each of its values the place in the flattened (O, K, K, I) weights, or −1 for filling."""
    cores = [
        _core_positions(shape_ohwi, order, core, block_depth, part_kernel_first, stride) for core in range(order.cores)
    ]
    if not order.fast:
        return cores
    depth, elements = (
        (order.part_kernel_run, order.element_multiple) if part_kernel_first else (order.depth_first_block, 1)
    )
    run = order.output_unit // order.cores * depth * elements
    return [np.stack([core.reshape(-1, run) for core in cores], axis=1).reshape(-1)]


def _core_positions(
    shape_ohwi: tuple[int, ...], order: StreamOrder, core: int, block_depth: int, part_kernel_first: bool, stride: int
) -> NDArray[np.int64]:
    outputs, height, width, inputs = shape_ohwi
    places = np.arange(outputs * height * width * inputs).reshape(outputs, height * width, inputs)
    phases = stride if part_kernel_first else 1
    places = places[:, _kernel_elements(height, width, phases, order.to_and_fro)]
    input_block = order.part_kernel_block if part_kernel_first else order.depth_first_block
    parts = []
    for number, start in enumerate(range(0, outputs, block_depth)):
        input_starts = list(range(0, inputs, input_block))
        if order.to_and_fro and number % 2:
            input_starts.reverse()
        for input_start in input_starts:
            block = places[start : start + block_depth, :, input_start : input_start + input_block]
            multiples = (
                (order.element_multiple, order.part_kernel_run) if part_kernel_first else (1, order.depth_first_block)
            )
            own = _own_units(_filled(block, (order.output_unit, *multiples)), order, core)
            parts.append(_part_kernel_first(own, order) if part_kernel_first else _depth_first(own, order))
    return np.concatenate(parts)


def _kernel_elements(height: int, width: int, phases: int, to_and_fro: bool) -> list[int]:
    """Numbers y · width + x of the kernel's elements in reading order."""
    if not to_and_fro:
        return list(range(height * width))
    elements = []
    for phase_y in range(phases):
        for phase_x in range(phases):
            for row, y in enumerate(range(phase_y, height, phases)):
                columns = list(range(phase_x, width, phases))
                elements += [y * width + x for x in (columns[::-1] if row % 2 else columns)]
    return elements


def _filled(block: NDArray[np.int64], multiples: tuple[int, int, int]) -> NDArray[np.int64]:
    """`block` (O, E, I) filled up with −1 to whole multiples along each axis."""
    missing = [-size % multiple for size, multiple in zip(block.shape, multiples, strict=True)]
    return np.pad(block, [(0, count) for count in missing], constant_values=-1)


def _own_units(filled: NDArray[np.int64], order: StreamOrder, core: int) -> NDArray[np.int64]:
    """A core's share of each micro-block: (O, E, I) -> (Ob, Ou, E, I)."""
    outputs, elements, inputs = filled.shape
    dealt = filled.reshape(outputs // order.output_unit, -1, order.cores, order.core_channels, elements, inputs)
    return dealt[:, :, core].reshape(outputs // order.output_unit, -1, elements, inputs)


def _depth_first(own: NDArray[np.int64], order: StreamOrder) -> NDArray[np.int64]:
    units = own.reshape(*own.shape[:3], -1, order.input_unit)
    return units.transpose(0, 2, 3, 1, 4).reshape(-1)  # (Ob, Ou, E, Ib, Iu) -> (Ob, E, Ib, Ou, Iu)


def _part_kernel_first(own: NDArray[np.int64], order: StreamOrder) -> NDArray[np.int64]:
    units = own.reshape(
        *own.shape[:3],
        own.shape[3] // order.part_kernel_run,
        order.part_kernel_run // order.input_unit,
        order.input_unit,
    )
    return units.transpose(3, 0, 2, 4, 1, 5).reshape(-1)  # (Ob, Ou, E, Ir, Ib, Iu) -> (Ir, Ob, E, Ib, Ou, Iu)
