"""The order in which Ethos-U reads the weights of one stream, found by decoding Vela's output for known nets.

A stream runs over blocks of output channels and, inside each, blocks of input channels. Inside a block, "depth first"
takes all input channels of one kernel element before the next element; "part kernel first" takes the elements of one
small run of input channels first. Innermost are `output_unit` output channels times `input_unit` input channels.
What does not fill a unit is stored as zeros. Ethos-U85 reads kernel rows to and fro, the four phases of a stride-2
kernel one after the other, and the input blocks of every second output block backwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

PLAIN_FORMAT = 0
SPARSE_FORMAT = 0x10  # at most two non-zero weights of every four along the input channels


@dataclass(frozen=True)
class StreamOrder:
    """One accelerator's order. Depths in channels; `element_multiple` pads the kernel's elements, part kernel first."""

    cores: int = 1
    output_unit: int = 8
    input_unit: int = 8
    depth_first_block: int = 32
    part_kernel_block: int = 16
    part_kernel_run: int = 8
    element_multiple: int = 4
    to_and_fro: bool = False
    formats: tuple[int, ...] = (PLAIN_FORMAT,)  # what the codec decodes; Ethos-U85 has a third, beyond the palette
    settled: bool = True  # seen for every kind of layer we have; else another order is a notice, not an error


_U85 = StreamOrder(
    depth_first_block=64,
    part_kernel_run=16,
    element_multiple=5,
    to_and_fro=True,
    formats=(PLAIN_FORMAT, SPARSE_FORMAT),
    settled=False,
)
ORDERS = {
    "ethos-u55-32": StreamOrder(output_unit=4),
    "ethos-u55-64": StreamOrder(),
    "ethos-u55-128": StreamOrder(),
    "ethos-u55-256": StreamOrder(),
    "ethos-u65-256": StreamOrder(),
    "ethos-u65-512": StreamOrder(cores=2),
    "ethos-u85-128": _U85,
    "ethos-u85-256": _U85,
}


def stream_order(accelerator: str, weight_format: int) -> StreamOrder | None:
    """The order of one stream, or None where it is not known or the codec cannot decode the format."""
    order = ORDERS.get(accelerator)
    if order is None or weight_format not in order.formats:
        return None
    return replace(order, input_unit=16) if weight_format == SPARSE_FORMAT else order


def stream_positions(
    shape_ohwi: tuple[int, ...], order: StreamOrder, *, block_depth: int, part_kernel_first: bool, stride: int
) -> NDArray[np.int64]:
    """For each value of the stream its place in the flattened (O, K, K, I) weights, or −1 for a filled-up zero."""
    outputs, height, width, inputs = shape_ohwi
    places = np.arange(outputs * height * width * inputs).reshape(outputs, height * width, inputs)
    places = places[:, _kernel_elements(height, width, stride, order.to_and_fro)]
    input_block = order.part_kernel_block if part_kernel_first else order.depth_first_block
    parts = []
    for number, start in enumerate(range(0, outputs, block_depth)):
        input_starts = list(range(0, inputs, input_block))
        if order.to_and_fro and number % 2:
            input_starts.reverse()
        for input_start in input_starts:
            block = places[start : start + block_depth, :, input_start : input_start + input_block]
            parts.append(_part_kernel_first(block, order) if part_kernel_first else _depth_first(block, order))
    return np.concatenate(parts)


def _kernel_elements(height: int, width: int, stride: int, to_and_fro: bool) -> list[int]:
    """Numbers y · width + x of the kernel's elements in reading order."""
    if not to_and_fro:
        return list(range(height * width))
    elements = []
    for phase_y in range(stride):
        for phase_x in range(stride):
            for row, y in enumerate(range(phase_y, height, stride)):
                columns = list(range(phase_x, width, stride))
                elements += [y * width + x for x in (columns[::-1] if row % 2 else columns)]
    return elements


def _filled(block: NDArray[np.int64], outputs: int, elements: int, inputs: int) -> NDArray[np.int64]:
    """`block` (O, E, I) filled up with −1 to whole multiples along each axis."""
    missing = [-size % multiple for size, multiple in zip(block.shape, (outputs, elements, inputs), strict=True)]
    return np.pad(block, [(0, count) for count in missing], constant_values=-1)


def _depth_first(block: NDArray[np.int64], order: StreamOrder) -> NDArray[np.int64]:
    filled = _filled(block, order.output_unit, 1, order.depth_first_block)
    units = filled.reshape(
        -1, order.output_unit, filled.shape[1], filled.shape[2] // order.input_unit, order.input_unit
    )
    return units.transpose(0, 2, 3, 1, 4).reshape(-1)  # (Ob, Ou, E, Ib, Iu) -> (Ob, E, Ib, Ou, Iu)


def _part_kernel_first(block: NDArray[np.int64], order: StreamOrder) -> NDArray[np.int64]:
    filled = _filled(block, order.output_unit, order.element_multiple, order.part_kernel_run)
    units = filled.reshape(
        -1,
        order.output_unit,
        filled.shape[1],
        filled.shape[2] // order.part_kernel_run,
        order.part_kernel_run // order.input_unit,
        order.input_unit,
    )
    return units.transpose(3, 0, 2, 4, 1, 5).reshape(-1)  # (Ob, Ou, E, Ir, Ib, Iu) -> (Ir, Ob, E, Ib, Ou, Iu)
