"""The integer model's layers as TensorIR kernels that read packed indices and a codebook, never expanded weights.

A kernel takes buffers in one order: input, the layer's constants, scratch, output. Shapes, zero points and clamps are
compiled in. A convolution goes through strips of output channels: it decodes one strip's weights from the packed rows into
scratch and then visits every pixel with it, so that a weight is decoded once per inference, not once per pixel.

Scratch is the caller's: `padded` int16 (H + 2, W + 2, I), the input less its zero point in a border of zeros, and
`strip` int16 (9·I, lanes), the decoded weights with the output channel innermost, which is the vector axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from convert.integer_model import LayerShape, QuantizedConv, QuantizedFullyConnected
from convert.packing import PLAIN_BITS, row_bytes
from convert.tvm_schedule import largest_divisor

PIXEL_TILE = 4  # output pixels that share the load of a weight vector
CHANNEL_STEP = 8  # input channels loaded as one vector, whose elements the multiplications then take
GROUP = 8  # indices decoded per step: 8·b bits are whole bytes at every bit width b

Buffers = tuple[Any, ...]
Signature = tuple[tuple[str, tuple[int, ...], str], ...]  # (name, shape, dtype) of each buffer


def build_kernel(signature: Signature, emit: Callable[..., None]) -> PrimFunc:
    """The function whose body `emit(*buffers)` writes."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_attr({"tirx.noalias": True})
        buffers = [T.arg(name, T.buffer(shape, dtype)) for name, shape, dtype in signature]
        with T.sblock("root"):  # TVM's own passes expect one
            T.reads()
            T.writes()
            emit(*buffers)
    return builder.get()


def constants_signature(channels: int, count: int, bit_width: int) -> Signature:
    """Of a stored layer; a plain one has no codebook."""
    codebook: Signature = () if bit_width == PLAIN_BITS else (("codebook", (2**bit_width,), "int8"),)
    return (
        ("packed", (channels, row_bytes(count, bit_width)), "uint8"),
        *codebook,
        ("bias", (channels,), "int32"),
        ("multiplier", (channels,), "int32"),
        ("shift", (channels,), "int8"),
    )


def requantize(accumulator: Any, multiplier: Any, shift: Any, *, left: bool) -> Any:
    """int64 expression of `convert.requantize.requantize`; `left` is false where no shift of the layer is positive.

    (a·b + 2^30) >> 31 equals TFLite's truncating division with its signed nudge, and no multiplier saturates it.
    """
    if left:
        accumulator = accumulator << T.Cast("int32", T.max(shift, T.int8(0)))  # wraps in int32
    right = T.Cast("int64", T.max(-T.Cast("int32", shift), 0))
    high = (T.Cast("int64", accumulator) * T.Cast("int64", multiplier) + T.int64(1 << 30)) >> T.int64(31)
    half = (T.int64(1) << right) >> T.int64(1)
    # one less for negatives takes ties away from zero; where right is 0 nothing is rounded
    negative = (high >> T.int64(63)) & T.min(right, T.int64(1))
    return (high + half - negative) >> right


def _clamp(value: Any, *, zero_point: int, low: int, high: int) -> Any:
    return T.Cast("int8", T.min(T.max(value + T.int64(zero_point), T.int64(low)), T.int64(high)))


def has_left_shift(layer: QuantizedConv | QuantizedFullyConnected) -> bool:
    return bool((layer.requantization[1] > 0).any())


def split_constants(constants: Buffers) -> tuple[Any, Any, Buffers]:
    """(packed, codebook or None, (bias, multiplier, shift)) of a kernel's constants."""
    packed, *codebook, bias, multiplier, shift = constants
    return packed, codebook[0] if codebook else None, (bias, multiplier, shift)


def _entry(packed: Any, codebook: Any, row: Any, byte: Any, *, position: int, bit_width: int) -> Any:
    """Weight of the symbol at `position` (0 to 7) of the group that begins at `byte`; bits as in convert.packing."""
    if codebook is None:
        return T.reinterpret("int8", packed[row, byte + position])
    offset, shift = divmod(position * bit_width, 8)
    bits = T.Cast("int32", packed[row, byte + offset])
    if shift + bit_width > 8:
        bits = bits | (T.Cast("int32", packed[row, byte + offset + 1]) << 8)
    return codebook[(bits >> shift) & ((1 << bit_width) - 1)]


def _for_each_entry(
    packed: Any, codebook: Any, row: Any, count: int, bit_width: int, visit: Callable[[Any, Any], None]
) -> None:
    """Emit `visit(k, entry)` for k = 0 .. count − 1 of a packed row."""
    groups, rest = divmod(count, GROUP)

    def group_of(group: Any, length: int) -> None:
        for position in range(length):
            entry = _entry(packed, codebook, row, group * bit_width, position=position, bit_width=bit_width)
            visit(group * GROUP + position, entry)

    if groups:
        with T.serial(0, groups) as group:
            group_of(group, GROUP)
    group_of(groups, rest)


def strip_lanes(channels: int) -> int:
    """Output channels of one strip; where they do not divide a layer's, the last strip is filled with zero weights."""
    return 16 if channels % 16 == 0 else 8


def _emit_padding(value: Any, padded: Any, hwc: tuple[int, int, int], zero_point: int) -> None:
    """padded = value − zero_point inside a border of zeros."""
    height, width, channels = hwc
    with T.grid(height + 2, width + 2, channels) as (row, column, channel):
        inside = T.And(T.And(row >= 1, row <= height), T.And(column >= 1, column <= width))
        centred = T.Cast("int16", value[row - 1, column - 1, channel]) - T.int16(zero_point)
        T.buffer_store(padded, T.if_then_else(inside, centred, T.int16(0)), [row, column, channel])


class _Strip:
    """One strip's constants, lanes innermost: decoded weights, bias, multiplier, shift; lanes past `channels` are zero."""

    def __init__(self, weight: Any, lanes: int, channels: int) -> None:
        self.weight, self.lanes, self.channels = weight, lanes, channels
        self.bias = T.alloc_buffer((lanes,), "int32", scope="local")
        self.multiplier = T.alloc_buffer((lanes,), "int32", scope="local")
        self.shift = T.alloc_buffer((lanes,), "int8", scope="local")

    def decode(self, first: Any, constants: Buffers, taps: int, bit_width: int) -> None:
        """Emit the decoding of channels first .. first + lanes − 1."""
        with T.serial(0, self.lanes) as lane:
            if self.channels % self.lanes == 0:
                self._decode_lane(first + lane, lane, constants, taps, bit_width)
                return
            with T.If(first + lane < self.channels):
                with T.Then():
                    self._decode_lane(first + lane, lane, constants, taps, bit_width)
                with T.Else():
                    self._zero_lane(lane, taps)

    def _decode_lane(self, channel: Any, lane: Any, constants: Buffers, taps: int, bit_width: int) -> None:
        packed, codebook, others = split_constants(constants)

        def store(tap: Any, entry: Any) -> None:
            T.buffer_store(self.weight, T.Cast("int16", entry), [tap, lane])

        _for_each_entry(packed, codebook, channel, taps, bit_width, store)
        for own, whole in zip((self.bias, self.multiplier, self.shift), others, strict=True):
            T.buffer_store(own, whole[channel], [lane])

    def _zero_lane(self, lane: Any, taps: int) -> None:
        with T.serial(0, taps) as tap:
            T.buffer_store(self.weight, T.int16(0), [tap, lane])
        for own, zero in ((self.bias, T.int32(0)), (self.multiplier, T.int32(0)), (self.shift, T.int8(0))):
            T.buffer_store(own, zero, [lane])


def _emit_accumulation(padded: Any, weight: Any, accumulator: Any, *, row: Any, column: Any, stride: int) -> None:
    """accumulator (pixels, lanes) = 3×3 window sums; `row`, `column` are the window's corner in `padded`."""
    pixels, lanes = (int(extent) for extent in accumulator.shape)
    channels = int(padded.shape[2])
    step = largest_divisor(channels, CHANNEL_STEP)
    values = T.alloc_buffer((step,), "int16", scope="local")
    for pixel in range(pixels):
        with T.vectorized(0, lanes) as lane:
            T.buffer_store(accumulator, T.int32(0), [pixel, lane])
    with T.grid(3, 3, channels // step) as (ky, kx, group):
        for pixel in range(pixels):
            with T.vectorized(0, step) as offset:
                value = padded[row + ky, column + pixel * stride + kx, group * step + offset]
                T.buffer_store(values, value, [offset])
            for offset in range(step):
                tap = (ky * 3 + kx) * channels + group * step + offset
                with T.vectorized(0, lanes) as lane:
                    product = T.Cast("int32", values[offset]) * T.Cast("int32", weight[tap, lane])
                    T.buffer_store(accumulator, accumulator[pixel, lane] + product, [pixel, lane])


def _emit_output(
    conv: QuantizedConv, strip: _Strip, accumulator: Any, result: Any, output: Any, row: Any, column: Any, first: Any
) -> None:
    """Requantize and clamp the accumulators and store the lanes that are channels."""
    left = has_left_shift(conv)
    for pixel in range(int(accumulator.shape[0])):
        with T.vectorized(0, strip.lanes) as lane:
            total = accumulator[pixel, lane] + strip.bias[lane]
            value = requantize(total, strip.multiplier[lane], strip.shift[lane], left=left)
            clamped = _clamp(value, zero_point=conv.output.zero_point, low=conv.clamp_min, high=conv.clamp_max)
            T.buffer_store(result, clamped, [lane])
        if strip.channels % strip.lanes == 0:
            with T.vectorized(0, strip.lanes) as lane:
                T.buffer_store(output, result[lane], [row, column + pixel, first + lane])
        else:
            with T.serial(0, strip.lanes) as lane, T.If(first + lane < strip.channels), T.Then():
                T.buffer_store(output, result[lane], [row, column + pixel, first + lane])


def convolution(conv: QuantizedConv, shape: LayerShape) -> PrimFunc:
    """Kernel (input, packed, codebook, bias, multiplier, shift, padded, strip, output) of a stored layer."""
    height, width, in_channels = shape.input_hwc
    out_height, out_width, channels = shape.output_hwc
    taps, lanes = 9 * in_channels, strip_lanes(channels)
    pixels = largest_divisor(out_width, PIXEL_TILE)
    signature: Signature = (
        ("input", shape.input_hwc, "int8"),
        *constants_signature(channels, taps, conv.bit_width),
        ("padded", (height + 2, width + 2, in_channels), "int16"),
        ("strip", (taps, lanes), "int16"),
        ("output", shape.output_hwc, "int8"),
    )

    def emit(value: Any, *rest: Any) -> None:
        *constants, padded, weight, output = rest
        accumulator = T.alloc_buffer((pixels, lanes), "int32", scope="local")
        result = T.alloc_buffer((lanes,), "int8", scope="local")
        strip = _Strip(weight, lanes, channels)
        _emit_padding(value, padded, shape.input_hwc, conv.input.zero_point)
        with T.serial(0, -(-channels // lanes)) as number:
            first = number * lanes
            strip.decode(first, tuple(constants), taps, conv.bit_width)
            with T.grid(out_height, out_width // pixels) as (row, tile):
                column = tile * pixels
                corner = {"row": row * conv.stride, "column": column * conv.stride}
                _emit_accumulation(padded, weight, accumulator, **corner, stride=conv.stride)
                _emit_output(conv, strip, accumulator, result, output, row, column, first)

    return build_kernel(signature, emit)


def average_pool(shape: LayerShape) -> PrimFunc:
    """Kernel (input, output): sum / count over the raw int8 values, half away from zero."""
    height, width, channels = shape.input_hwc
    lanes, count = largest_divisor(channels, 8), height * width

    def emit(value: Any, output: Any) -> None:
        total = T.alloc_buffer((lanes,), "int32", scope="local")
        with T.serial(0, channels // lanes) as strip:
            with T.vectorized(0, lanes) as lane:
                T.buffer_store(total, T.int32(0), [lane])
            with T.grid(height, width) as (row, column), T.vectorized(0, lanes) as lane:
                T.buffer_store(total, total[lane] + T.Cast("int32", value[row, column, strip * lanes + lane]), [lane])
            with T.vectorized(0, lanes) as lane:
                magnitude = T.truncdiv(T.max(total[lane], -total[lane]) + count // 2, T.int32(count))
                mean = T.Select(total[lane] < 0, -magnitude, magnitude)
                T.buffer_store(output, T.Cast("int8", mean), [strip * lanes + lane])

    return build_kernel((("input", shape.input_hwc, "int8"), ("output", (channels,), "int8")), emit)


def fully_connected(layer: QuantizedFullyConnected, shape: LayerShape) -> PrimFunc:
    """Kernel (input, packed, codebook, bias, multiplier, shift, output) of a stored layer.

    A weight is used once, so it is not kept.
    """
    channels, count = layer.indices.shape
    signature: Signature = (
        ("input", (count,), "int8"),
        *constants_signature(channels, count, layer.bit_width),
        ("output", (channels,), "int8"),
    )

    def emit(value: Any, *rest: Any) -> None:
        *constants, output = rest
        packed, codebook, (bias, multiplier, shift) = split_constants(tuple(constants))
        total = T.alloc_buffer((1,), "int32", scope="local")

        def accumulate(index: Any, entry: Any) -> None:
            centred = T.Cast("int32", value[index]) - T.int32(layer.input.zero_point)
            T.buffer_store(total, total[0] + centred * T.Cast("int32", entry), [0])

        with T.serial(0, channels) as channel:
            T.buffer_store(total, T.int32(0), [0])
            _for_each_entry(packed, codebook, channel, count, layer.bit_width, accumulate)
            accumulator = total[0] + bias[channel]
            logit = requantize(accumulator, multiplier[channel], shift[channel], left=has_left_shift(layer))
            T.buffer_store(output, _clamp(logit, zero_point=layer.output.zero_point, low=-128, high=127), [channel])

    return build_kernel(signature, emit)
