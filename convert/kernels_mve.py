"""Convolutions for Armv8.1-M with MVE (Cortex-M55): two output channels × four pixels at once, strips decoded by gather.

They read the portable kernel's table as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from convert.integer_model import LayerShape, QuantizedConv
from convert.kernel import ConvKernel
from convert.kernels_portable import ohwi_order
from convert.packing import PLAIN_BITS
from convert.stored import is_stored_plain

CORES = frozenset({"cortex-m55"})
LANES = 16  # int8 lanes of a vector
PIXELS = 4  # of a tile
BLOCK_BYTES = 32  # repedge_mve_block_t
MAX_OUT_CHANNELS = 16384  # a tile's output offsets are uint16


def _columns(conv: QuantizedConv, shape: LayerShape) -> int:
    """Input columns that the tiles of a row read, padding included."""
    return conv.stride * (max(shape.output_hwc[1], PIXELS) - 1) + 3


def _groups(shape: LayerShape) -> int:
    """Groups of sixteen input channels."""
    return ceil(shape.input_hwc[2] / LANES)


def _strip_choices(conv: QuantizedConv, shape: LayerShape) -> tuple[int, ...]:
    """Whole pairs of channels, up to all of them."""
    every = 2 * ceil(shape.output_hwc[2] / 2)
    return tuple(sorted({min(strip, every) for strip in (2, 4, 8, 16, 32)}))


def _direct_obstacle(conv: QuantizedConv, shape: LayerShape) -> str | None:
    return _too_many_channels(shape)


def _too_many_channels(shape: LayerShape) -> str | None:
    channels = shape.output_hwc[2]
    return f"{channels} output channels, allowed up to {MAX_OUT_CHANNELS}" if channels > MAX_OUT_CHANNELS else None


def _direct_scratch_bytes(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> int:
    """Strip with a block per pair, and a ring of three padded rows."""
    groups = _groups(shape)
    pairs = ceil(strip_channels / 2)
    return pairs * (18 * LANES * groups + BLOCK_BYTES) + 3 * _columns(conv, shape) * groups * LANES


def _is_plain(conv: QuantizedConv) -> bool:
    """Whether whole tiles take the short requantization (repedge_mve_is_plain)."""
    return (conv.clamp_min, conv.clamp_max) == (-128, 127) and int(conv.requantization[1].max()) <= 0


@dataclass(frozen=True)
class _Costs:
    """Instructions of a kernel's parts, counted in the code of its loops."""

    plain: float  # a tile with the short requantization
    checked: float  # any other tile
    row: float  # of output, per strip, beside its tiles
    row_pair: float  # of output and pair of channels, whatever the strips
    channel: float  # decoding and constants of one
    once: float


def _layer_instructions(costs: _Costs, conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> float:
    """All of a layer. Tiles of an odd channel or a short row are checked, and cost a call; so do those at the right edge."""
    height, width, channels = shape.output_hwc
    strips, pairs, tiles = ceil(channels / strip_channels), channels // 2, ceil(width / PIXELS)
    whole = costs.plain if _is_plain(conv) and width >= PIXELS else costs.checked
    right, odd = width % PIXELS != 0, channels % 2
    edges = strips * right * 130 + odd * (1 + right) * 130
    row = tiles * (pairs * whole + odd * costs.checked) + edges + strips * costs.row
    return height * (row + ceil(channels / 2) * costs.row_pair) + channels * costs.channel + costs.once


def _direct_instructions(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> float:
    """Within a few percent of emulation."""
    height, width, in_channels = shape.input_hwc
    groups = _groups(shape)
    segments = groups * (3 * (36 if conv.stride == 1 else 39) + 5)
    tail = 3 * width if in_channels % LANES else 0
    ring = (height + 2) * (groups * (40 + 3 * width) + tail)
    costs = _Costs(
        plain=segments + (14 if groups == 1 else 22),
        checked=segments + 39,
        row=100 + 21 * ceil(shape.output_hwc[1] / PIXELS) + ring / shape.output_hwc[0],
        row_pair=0,
        channel=140 + _decoding(PLAIN_BITS if is_stored_plain(conv) else conv.bit_width, in_channels),
        once=0,
    )
    return _layer_instructions(costs, conv, shape, strip_channels)


def _decoding(bit_width: int, in_channels: int) -> int:
    """Instructions to decode one output channel's weights; the cases of repedge_mve_decode_channel."""
    groups = ceil(in_channels / LANES)
    if in_channels % LANES:
        return 9 * (15 + 32 * groups)
    if bit_width == PLAIN_BITS:
        return 46 * groups
    if bit_width == 4 and in_channels % (2 * LANES) == 0:
        return 50 * groups
    return groups * (9 * (7 if 8 % bit_width == 0 else 10) + 10)


MVE_DIRECT = ConvKernel(
    name="mve_direct",
    constant="REPEDGE_KERNEL_MVE_DIRECT",
    function="repedge_conv3x3_s8_mve_direct",
    cores=CORES,
    obstacle=_direct_obstacle,
    strip_choices=_strip_choices,
    scratch_bytes=_direct_scratch_bytes,
    instructions=_direct_instructions,
    order=ohwi_order,
)


def _first_obstacle(conv: QuantizedConv, shape: LayerShape) -> str | None:
    if shape.input_hwc[2] not in (1, 3):
        return f"{shape.input_hwc[2]} input channels, allowed are 1 and 3"
    return _too_many_channels(shape)


def _first_scratch_bytes(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> int:
    """Strip with a block per pair, and the window buffer: three rows of every column, read up to a vector too far."""
    channels = shape.input_hwc[2]
    pair_bytes = 2 * LANES * ceil(9 * channels / LANES) + BLOCK_BYTES
    window_bytes = LANES * (3 * channels * _columns(conv, shape) // LANES + 2)
    return ceil(strip_channels / 2) * pair_bytes + window_bytes


def _first_instructions(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> float:
    """Within a few percent of emulation."""
    _, width, in_channels = shape.input_hwc
    window = 44 if in_channels == 3 else 32
    costs = _Costs(
        plain=window,
        checked=window + 17,
        row=110 + 3 * (18 + 9 * ceil(width * in_channels / 15)),
        row_pair=14,
        channel=110,
        once=500,
    )
    return _layer_instructions(costs, conv, shape, strip_channels)


MVE_FIRST = ConvKernel(
    name="mve_first",
    constant="REPEDGE_KERNEL_MVE_FIRST",
    function="repedge_conv3x3_s8_mve_first",
    cores=CORES,
    obstacle=_first_obstacle,
    strip_choices=_strip_choices,
    scratch_bytes=_first_scratch_bytes,
    instructions=_first_instructions,
    order=ohwi_order,
)
