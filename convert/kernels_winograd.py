"""Exact Winograd convolutions for cores with the DSP extension, stride 1: 2×2 or 4×4 outputs at once.

Transformed weights U of a strip of output channels and transformed inputs V of a group of tiles stand in scratch
(firmware_stub/src/armv7em/repedge_winograd.h). Either may be all there is, or the other is made again per strip or group:
- `dsp_winograd4`: strips of any size, V of one pair of tiles;
- `dsp_winograd4_whole`, `_halves`, `_quarters`: a strip of four channels, V of the whole image or of such a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import LayerShape, QuantizedConv
from convert.kernel import ConvKernel
from convert.stored import is_stored_plain
from convert.winograd import F2, F4, Transform, winograd_obstacle

DSP_CORES = frozenset({"cortex-m4", "cortex-m7", "cortex-m33"})
LANES = 4  # output channels multiplied together
CHANNEL_BYTES = 16  # winograd_channel_t
MAX_TABLE_BITS = 4  # up to here a table of all pairs of codebook entries is built
PARTS = {"whole": 1, "halves": 2, "quarters": 4}


def winograd_order(out_channels: int, in_channels: int) -> NDArray[np.int64]:
    """(O/4, 36 I): per group of four output channels (quad of inputs, pair, channel, kx, ky, weight); pairs are c and c + 2."""
    group, quad, pair, lane, kx, ky, weight = np.indices(
        (out_channels // LANES, in_channels // 4, 2, LANES, 3, 3, 2), dtype=np.int64
    )
    position = (((LANES * group + lane) * 3 + ky) * 3 + kx) * in_channels + 4 * quad + pair + 2 * weight
    return position.reshape(out_channels // LANES, -1)


def tile_pairs(transform: Transform, shape: LayerShape) -> int:
    """Pairs of tiles that cover the output, the last one perhaps half."""
    height, width, _ = shape.output_hwc
    return (-(-height // transform.outputs) * -(-width // transform.outputs) + 1) // 2


def _obstacle(transform: Transform, parts: int | None, conv: QuantizedConv, shape: LayerShape) -> str | None:
    if conv.stride != 1:
        return "its stride is 2"
    if shape.input_hwc[2] % 4 or shape.output_hwc[2] % LANES:
        return "its channels are no multiples of 4"
    if parts is not None and tile_pairs(transform, shape) < 2 * parts:
        return f"it has fewer than {2 * parts} pairs of tiles"
    return winograd_obstacle(conv, transform)


def _strip_choices(parts: int | None, conv: QuantizedConv, shape: LayerShape) -> tuple[int, ...]:
    if parts is not None:
        return (LANES,)
    groups = shape.output_hwc[2] // LANES
    return tuple(sorted({LANES * -(-groups // strips) for strips in range(1, groups + 1)}, reverse=True))


def _group_pairs(transform: Transform, parts: int | None, shape: LayerShape) -> int:
    """Pairs of tiles whose V stands in scratch."""
    return 1 if parts is None else -(-tile_pairs(transform, shape) // parts)


def _in_place(
    transform: Transform, parts: int | None, conv: QuantizedConv, shape: LayerShape, strip_channels: int
) -> bool:
    """Once V of the whole image stands in scratch, the input is not read again."""
    return _group_pairs(transform, parts, shape) >= tile_pairs(transform, shape)


def _scratch_bytes(
    transform: Transform, parts: int | None, conv: QuantizedConv, shape: LayerShape, strip_channels: int
) -> int:
    """Table of weight pairs, M, constants and U of the strip, V of the group."""
    positions, in_channels = len(transform.input) ** 2, shape.input_hwc[2]
    table = 4 ** (conv.bit_width + 1) if conv.bit_width <= MAX_TABLE_BITS else 0
    u = 8 * positions * in_channels * (strip_channels // LANES)
    v = 4 * positions * in_channels * _group_pairs(transform, parts, shape)
    return table + 32 * positions + CHANNEL_BYTES * strip_channels + u + v


@dataclass(frozen=True)
class _Costs:
    """Instructions of the steps, from emulation of Cortex-M4 code (benchmarks/results/kernels.json)."""

    weights: float  # per pair of input channels and output channel, without decoding
    tile: float  # per pair of input channels, of a tile inside the image
    border: float  # how much more at the border
    output: float  # per tile and output channel


COSTS = {2: _Costs(weights=62, tile=102, border=50, output=89), 4: _Costs(weights=143, tile=370, border=80, output=331)}
DECODE = {2: 37, 3: 41, 4: 30}  # per pair of input channels and output channel; more bits have no table
DECODE_MORE, DECODE_PLAIN = 89, 38


def _instructions(
    transform: Transform, parts: int | None, conv: QuantizedConv, shape: LayerShape, strip_channels: int
) -> float:
    """Counted from the loops."""
    channels, channel_pairs = shape.output_hwc[2], shape.input_hwc[2] // 2
    costs, pairs = COSTS[transform.outputs], tile_pairs(transform, shape)
    tiles, inside = _tiles(transform, shape)
    strips, groups = -(-channels // strip_channels), -(-pairs // _group_pairs(transform, parts, shape))
    decode = DECODE_PLAIN if is_stored_plain(conv) else DECODE.get(conv.bit_width, DECODE_MORE)
    weights = channel_pairs * channels * (costs.weights + decode)
    inputs = channel_pairs * (tiles * costs.tile + (tiles - inside) * costs.border)
    if strips > 1 and groups > 1:  # as repedge_winograd.c decides it
        tile_cost = {2: 3, 4: 4}[transform.outputs]
        strips_first = (strips - 1) * tiles * tile_cost < 2 * (groups - 1) * channels
        inputs, weights = (inputs * strips, weights) if strips_first else (inputs, weights * groups)
    multiply = pairs * channels / LANES * (len(transform.input) ** 2 * (10.6 + 11.375 * channel_pairs) + 60)
    clamps = 2.5 * tiles * transform.outputs**2 * channels / 4 if conv.activation_bits < 8 else 0
    return weights + inputs + multiply + clamps + tiles * channels * costs.output + 100 * channels + 2000


def _tiles(transform: Transform, shape: LayerShape) -> tuple[int, int]:
    """Tiles, and those whose patch lies inside the image."""
    whole, inside = 1, 1
    for size in shape.output_hwc[:2]:
        whole *= -(-size // transform.outputs)
        inside *= max(0, (size - 1) // transform.outputs - 1)
    return whole, inside


def _kernel(transform: Transform, suffix: str, parts: int | None) -> ConvKernel:
    name = f"winograd{transform.outputs}"
    return ConvKernel(
        name=f"dsp_{name}{suffix}",
        constant=f"REPEDGE_KERNEL_DSP_WINOGRAD{transform.outputs}",
        function=f"repedge_conv3x3_s8_{name}",
        cores=DSP_CORES,
        obstacle=partial(_obstacle, transform, parts),
        strip_choices=partial(_strip_choices, parts),
        scratch_bytes=partial(_scratch_bytes, transform, parts),
        instructions=partial(_instructions, transform, parts),
        order=winograd_order,
        in_place=partial(_in_place, transform, parts),
    )


WINOGRAD_KERNELS: tuple[ConvKernel, ...] = tuple(
    _kernel(transform, suffix, parts)
    for transform in (F2, F4)
    for suffix, parts in (("", None), *((f"_{name}", parts) for name, parts in PARTS.items()))
)
