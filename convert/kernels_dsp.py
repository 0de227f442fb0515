"""Direct convolutions for cores with the DSP extension (Cortex-M4, M7, M33): four output channels × two pixels at once.

`dsp_direct` takes input channels in multiples of four, `dsp_first` any number, made for the few of a first layer. Both
multiply in pair steps (two weights of four channels × two inputs of two pixels); `repedge_dsp.h` draws the layouts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import LayerShape, QuantizedConv
from convert.kernel import ConvKernel, Order
from convert.stored import is_stored_plain

DSP_CORES = frozenset({"cortex-m4", "cortex-m7", "cortex-m33"})
GROUP = 4  # output channels computed together
GROUP_BYTES = 64  # repedge_dsp_group_t
STEP_BYTES = 16  # decoded weights of a pair step; also its inputs of two pixels twice
UNROLLED_PAIRS = 5  # steps of a row whose three rows are unrolled: three input channels
MAX_TABLE_BITS = 4  # up to here a table of all pairs of codebook entries is built


def direct_pairs(in_channels: int) -> int:
    """Pair steps of one kernel row of the direct kernel."""
    return 3 * in_channels // 2


def first_pairs(in_channels: int) -> int:
    """Pair steps of one kernel row of the first-layer kernel."""
    return (3 * in_channels + 1) // 2


def direct_order(out_channels: int, in_channels: int) -> NDArray[np.int64]:
    """(1, n): per group of four channels (ky, kx, quad of inputs, two pair steps, channel, weight); pairs are c and c + 2."""
    group, ky, kx, quad, step, lane, weight = np.indices(
        (-(-out_channels // GROUP), 3, 3, in_channels // 4, 2, GROUP, 2), dtype=np.int64
    )
    channel = GROUP * group + lane
    position = ((channel * 3 + ky) * 3 + kx) * in_channels + 4 * quad + step + 2 * weight
    return np.where(channel < out_channels, position, -1).reshape(1, -1)


def first_order(out_channels: int, in_channels: int) -> NDArray[np.int64]:
    """(1, n): per group of four channels (ky, pair step, channel, weight); pairs follow one another in (kx, i) order."""
    group, ky, step, lane, weight = np.indices(
        (-(-out_channels // GROUP), 3, first_pairs(in_channels), GROUP, 2), dtype=np.int64
    )
    channel, tap = GROUP * group + lane, 2 * step + weight
    position = (channel * 3 + ky) * 3 * in_channels + tap
    return np.where((channel < out_channels) & (tap < 3 * in_channels), position, -1).reshape(1, -1)


def requantize_obstacle(conv: QuantizedConv) -> str | None:
    """Why SMMULR of a doubled accumulator would not be TFLite's rounding for this layer, or None where it provably is."""
    _, shift = conv.requantization
    if shift.max() > 0:
        return "its outputs are finer than its accumulators"
    if accumulator_bounds(conv).max() >= 2**30:
        return "its accumulators may reach 2^30"
    return None


def accumulator_bounds(conv: QuantizedConv) -> NDArray[np.int64]:
    """(O,): no accumulator, whole or partial, bias included, is larger; |input − zero point| <= 255."""
    weights = np.abs(conv.weight_ohwi.astype(np.int64)).reshape(conv.bias.size, -1)
    return 255 * weights.sum(axis=1) + np.abs(conv.bias.astype(np.int64))


def strip_choices(conv: QuantizedConv, shape: LayerShape) -> tuple[int, ...]:
    """Strips of whole groups that share the channels out evenly, largest first."""
    groups = -(-shape.output_hwc[2] // GROUP)
    return tuple(sorted({GROUP * -(-groups // strips) for strips in range(1, groups + 1)}, reverse=True))


def _half(shape: LayerShape) -> int:
    """Pairs of pixels in an output row."""
    return (shape.output_hwc[1] + 1) // 2


def _direct_row_bytes(conv: QuantizedConv, shape: LayerShape) -> int:
    return (conv.stride * (_half(shape) - 1) + 3) * shape.input_hwc[2] * 4


def _first_row_bytes(conv: QuantizedConv, shape: LayerShape) -> int:
    return _half(shape) * first_pairs(shape.input_hwc[2]) * 8


def _direct_border_bytes(conv: QuantizedConv, shape: LayerShape) -> int:
    """A column of zero points."""
    return shape.input_hwc[2]


def _first_border_bytes(conv: QuantizedConv, shape: LayerShape) -> int:
    """A line of int16: every window of both pixels, and one value more."""
    columns = conv.stride * (2 * _half(shape) - 1) + 3
    return -(-2 * (columns * shape.input_hwc[2] + 1) // 4) * 4


def _scratch_bytes(
    row_bytes: Callable[[QuantizedConv, LayerShape], int],
    border_bytes: Callable[[QuantizedConv, LayerShape], int],
    pairs: Callable[[int], int],
) -> Callable[[QuantizedConv, LayerShape, int], int]:
    """Decoded weights, constants of their groups, three converted rows (before them the table of pairs), the border."""

    def scratch_bytes(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> int:
        weights = 3 * pairs(shape.input_hwc[2]) * STEP_BYTES
        table = 4 ** (conv.bit_width + 1) if conv.bit_width <= MAX_TABLE_BITS else 0
        rows = max(3 * row_bytes(conv, shape), table)
        return strip_channels // GROUP * (weights + GROUP_BYTES) + rows + border_bytes(conv, shape)

    return scratch_bytes


def _instructions(
    row_bytes: Callable[[QuantizedConv, LayerShape], int], pairs: Callable[[int], int], per_row_byte: float
) -> Callable[[QuantizedConv, LayerShape, int], float]:
    """Counted from the loops, with what a converted byte costs fitted to emulation: `dsp_direct` within 1 %, `dsp_first` 10 %."""

    def instructions(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> float:
        height, _, in_channels = shape.input_hwc
        out_height, _, channels = shape.output_hwc
        groups, strips = -(-channels // GROUP), -(-channels // strip_channels)
        rows = sum(_rows_inside(y * conv.stride, height) for y in range(out_height))
        group_ends = out_height * _half(shape) * groups
        per_row = 3 if pairs(in_channels) == UNROLLED_PAIRS else 8
        multiplied = _half(shape) * groups * rows * (11 * pairs(in_channels) + per_row)
        by_table = conv.bit_width <= MAX_TABLE_BITS
        per_step = 13 if by_table else 17 if is_stored_plain(conv) else 58
        decoded = 3 * pairs(in_channels) * groups * per_step
        table = 5 * 4**conv.bit_width if by_table else 0
        converted = height * (row_bytes(conv, shape) * per_row_byte + 100)
        return (
            multiplied
            + 64 * group_ends
            + decoded
            + strips * (converted + table + out_height * (200 + 24 * _half(shape)))
        )

    return instructions


def _rows_inside(top: int, height: int) -> int:
    """Kernel rows that lie inside the image; `top` is the first one's input row + 1."""
    return min(3, height + 1 - top) - (1 if top == 0 else 0)


def _direct_obstacle(conv: QuantizedConv, shape: LayerShape) -> str | None:
    if shape.input_hwc[2] % 4:
        return "its input channels are no multiple of 4"
    return requantize_obstacle(conv)


def _in_place(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> bool:
    """In one strip, an output row is written when the input rows above and below are in the ring: it may lie on its own."""
    return conv.stride == 1 and shape.input_hwc == shape.output_hwc and strip_channels >= shape.output_hwc[2]


def _kernel(
    name: str,
    order: Order,
    obstacle: Callable[[QuantizedConv, LayerShape], str | None],
    row_bytes: Callable[[QuantizedConv, LayerShape], int],
    border_bytes: Callable[[QuantizedConv, LayerShape], int],
    pairs: Callable[[int], int],
    per_row_byte: float,
) -> ConvKernel:
    return ConvKernel(
        name=f"dsp_{name}",
        constant=f"REPEDGE_KERNEL_DSP_{name.upper()}",
        function=f"repedge_conv3x3_s8_{name}",
        cores=DSP_CORES,
        obstacle=obstacle,
        strip_choices=strip_choices,
        scratch_bytes=_scratch_bytes(row_bytes, border_bytes, pairs),
        instructions=_instructions(row_bytes, pairs, per_row_byte),
        order=order,
        in_place=_in_place,
    )


DSP_DIRECT = _kernel(
    "direct", direct_order, _direct_obstacle, _direct_row_bytes, _direct_border_bytes, direct_pairs, 0.7
)
DSP_FIRST = _kernel(
    "first",
    first_order,
    lambda conv, shape: requantize_obstacle(conv),
    _first_row_bytes,
    _first_border_bytes,
    first_pairs,
    1.3,
)
