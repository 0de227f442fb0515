"""The integer model: the contract that every back end follows bit for bit.

3×3 convolutions (stride 1 or 2, padding 1) with fused ReLU, global average pooling, one fully connected layer.
Weights are `codebook[indices]`, int8 in [−127, 127], times a float32 `weight_scale` (per tensor or per output channel)
that lives in the requantization multiplier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from convert.packing import packed_weight_bytes
from convert.requantize import convolution_multipliers, fully_connected_multipliers

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Quantization:
    """real = scale · (q − zero_point); `scale` is a float32 value > 0, `zero_point` is in int8's range."""

    scale: np.float32
    zero_point: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.float32(self.scale))
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale {self.scale}, allowed are finite values > 0")
        if not -128 <= self.zero_point <= 127:
            raise ValueError(f"zero_point {self.zero_point}, allowed -128 to 127")


IMAGE_INPUT = Quantization(np.float32(1 / 255), -128)  # int8 = pixel − 128


def _check_weights(
    name: str, bit_width: int, codebook: Int8, indices: UInt8, weight_scale: Float32, bias: Int32
) -> None:
    """Raise ValueError at the first value the contract does not allow."""
    channels = indices.shape[0]
    if not 2 <= bit_width <= 8:
        raise ValueError(
            f"layer {name}: bit_width {bit_width}, allowed 2 to 8; set quantize.weights.bit_width in the recipe"
        )
    if codebook.dtype != np.int8 or codebook.ndim != 1 or not 1 <= codebook.size <= 2**bit_width:
        raise ValueError(
            f"layer {name}: codebook of {codebook.size} {codebook.dtype} entries, allowed 1 to {2**bit_width} int8 entries"
        )
    if codebook.min() < -127:
        raise ValueError(f"layer {name}: codebook entry {codebook.min()}, allowed -127 to 127")
    if indices.dtype != np.uint8 or (indices.size and int(indices.max()) >= codebook.size):
        raise ValueError(f"layer {name}: index {indices.max()} ({indices.dtype}), allowed uint8 below {codebook.size}")
    if weight_scale.dtype != np.float32 or weight_scale.shape not in ((1,), (channels,)):
        raise ValueError(
            f"layer {name}: weight_scale {weight_scale.dtype}{weight_scale.shape}, allowed float32 (1,) or ({channels},)"
        )
    if not (np.isfinite(weight_scale).all() and (weight_scale > 0).all()):
        raise ValueError(
            f"layer {name}: weight_scale holds NaN, infinite or non-positive values; train again or check the checkpoint"
        )
    if bias.dtype != np.int32 or bias.shape != (channels,):
        raise ValueError(f"layer {name}: bias {bias.dtype}{bias.shape}, allowed int32 ({channels},)")


@dataclass(frozen=True)
class QuantizedConv:
    """A 3×3 convolution, padding 1, with ReLU. `indices` is OHWI: (O, 3, 3, I)."""

    name: str
    stride: int
    input: Quantization
    output: Quantization
    activation_bits: int  # output levels are zero_point .. zero_point + 2^bits − 1, at most 127
    bit_width: int
    codebook: Int8
    indices: UInt8
    weight_scale: Float32
    bias: Int32

    def __post_init__(self) -> None:
        _check_weights(self.name, self.bit_width, self.codebook, self.indices, self.weight_scale, self.bias)
        if self.indices.ndim != 4 or self.indices.shape[1:3] != (3, 3):
            raise ValueError(f"layer {self.name}: indices {self.indices.shape}, allowed (O, 3, 3, I)")
        if self.stride not in (1, 2):
            raise ValueError(f"layer {self.name}: stride {self.stride}, allowed 1 or 2")
        if not 2 <= self.activation_bits <= 8:
            raise ValueError(f"layer {self.name}: activation_bits {self.activation_bits}, allowed 2 to 8")

    @property
    def weight_ohwi(self) -> Int8:
        """Expanded int8 weights (O, 3, 3, I)."""
        return self.codebook[self.indices]

    @cached_property
    def requantization(self) -> tuple[Int32, Int32]:
        """(multiplier, shift), each int32 (O,)."""
        return convolution_multipliers(self.input.scale, self.weight_scale, self.output.scale, self.indices.shape[0])

    @property
    def clamp_min(self) -> int:
        """ReLU: the output's zero point."""
        return self.output.zero_point

    @property
    def clamp_max(self) -> int:
        """Top level of the output."""
        return min(127, self.output.zero_point + 2**self.activation_bits - 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of the output: ceil(size / stride)."""
        return (height - 1) // self.stride + 1, (width - 1) // self.stride + 1


@dataclass(frozen=True)
class QuantizedFullyConnected:
    """The classifier. `indices` is (O, I); logits are int8 and not clamped below int8's range."""

    name: str
    input: Quantization
    output: Quantization
    bit_width: int
    codebook: Int8
    indices: UInt8
    weight_scale: Float32
    bias: Int32

    def __post_init__(self) -> None:
        _check_weights(self.name, self.bit_width, self.codebook, self.indices, self.weight_scale, self.bias)
        if self.indices.ndim != 2:
            raise ValueError(f"layer {self.name}: indices {self.indices.shape}, allowed (O, I)")

    @property
    def weight_oi(self) -> Int8:
        """Expanded int8 weights (O, I)."""
        return self.codebook[self.indices]

    @cached_property
    def requantization(self) -> tuple[Int32, Int32]:
        """(multiplier, shift), each int32 (O,)."""
        return fully_connected_multipliers(
            self.input.scale, self.weight_scale, self.output.scale, self.indices.shape[0]
        )


@dataclass(frozen=True)
class LayerShape:
    """Where a layer stands: name, kind (`conv`, `pool`, `fully_connected`), NHWC sizes without N, and its MACs."""

    name: str
    kind: str
    input_hwc: tuple[int, int, int]
    output_hwc: tuple[int, int, int]
    macs: int


@dataclass(frozen=True)
class IntegerModel:
    """A whole net. Layer order: the convolutions, `pool`, the classifier; back ends number layers in this order."""

    input_hwc: tuple[int, int, int]
    convs: tuple[QuantizedConv, ...]
    classifier: QuantizedFullyConnected
    class_names: tuple[str, ...]
    input: Quantization = field(default=IMAGE_INPUT)

    def __post_init__(self) -> None:
        _check_chain(self)

    @property
    def layers(self) -> tuple[QuantizedConv | QuantizedFullyConnected, ...]:
        """The layers that hold weights, in order."""
        return (*self.convs, self.classifier)

    def shapes(self) -> Iterator[LayerShape]:
        """Every layer with its sizes; MACs count padded taps too, as is usual."""
        height, width, channels = self.input_hwc
        for conv in self.convs:
            out_height, out_width = conv.output_size(height, width)
            out_channels = conv.indices.shape[0]
            macs = out_height * out_width * conv.indices.size
            yield LayerShape(conv.name, "conv", (height, width, channels), (out_height, out_width, out_channels), macs)
            height, width, channels = out_height, out_width, out_channels
        yield LayerShape("pool", "pool", (height, width, channels), (1, 1, channels), 0)
        classes = self.classifier.indices.shape[0]
        yield LayerShape(
            self.classifier.name, "fully_connected", (1, 1, channels), (1, 1, classes), self.classifier.indices.size
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(shape.macs for shape in self.shapes())

    @property
    def parameters(self) -> int:
        """Weights and biases of the merged net."""
        return sum(layer.indices.size + layer.bias.size for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Flash bytes of packed weights, codebooks (2^b entries), biases and multipliers (4 B) with shifts (1 B)."""
        return sum(layer_weight_bytes(layer) for layer in self.layers)


def layer_weight_bytes(layer: QuantizedConv | QuantizedFullyConnected) -> int:
    """Flash bytes of one layer's constants: packed weights, codebook where it has one, bias, multiplier, shift."""
    channels = layer.indices.shape[0]
    return packed_weight_bytes(channels, layer.indices[0].size, layer.bit_width) + channels * (4 + 4 + 1)


def _check_chain(model: IntegerModel) -> None:
    """Each layer takes what the one before gives: channels and quantization."""
    quantization, channels = model.input, model.input_hwc[2]
    for layer in model.layers:
        if layer.indices.shape[-1] != channels:
            raise ValueError(
                f"layer {layer.name}: {layer.indices.shape[-1]} input channels, the layer before gives {channels}"
            )
        if layer.input != quantization:
            raise ValueError(f"layer {layer.name}: input {layer.input}, the layer before gives {quantization}")
        quantization, channels = layer.output, layer.indices.shape[0]
    if len(model.class_names) != channels:
        raise ValueError(f"{len(model.class_names)} class names for {channels} logits; give one name per class")
