"""The portable convolution: plain C, every core and the host, every layer. It defines the result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import LayerShape, QuantizedConv
from convert.kernel import ConvKernel

STRIP_CHANNELS = 4  # REPEDGE_STRIP_CHANNELS


def ohwi_order(out_channels: int, in_channels: int) -> NDArray[np.int64]:
    """(O, 9 I): a row per output channel, in (ky, kx, i) order."""
    return np.arange(out_channels * 9 * in_channels, dtype=np.int64).reshape(out_channels, -1)


def _scratch_bytes(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> int:
    """The decoded strip: int8 weights of `strip_channels` output channels."""
    return strip_channels * 9 * shape.input_hwc[2]


def _instructions(conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> float:
    """Multiply-accumulates, outputs and decoded weights, each with a factor fitted to the Cortex-M4; within 12 % there."""
    outputs = shape.output_hwc[0] * shape.output_hwc[1] * shape.output_hwc[2]
    return 2.95 * shape.macs + 81 * outputs + 14 * conv.indices.size


PORTABLE = ConvKernel(
    name="portable",
    constant="REPEDGE_KERNEL_PORTABLE",
    function="repedge_conv3x3_s8",
    cores=frozenset(),
    obstacle=lambda conv, shape: None,
    strip_choices=lambda conv, shape: (STRIP_CHANNELS,),
    scratch_bytes=_scratch_bytes,
    instructions=_instructions,
    order=ohwi_order,
)
