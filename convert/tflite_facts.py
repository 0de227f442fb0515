"""What an exact int8 TFLite file must hold: one net's facts, from an integer model or read back from a file.

Both sides become the same dataclass, so that comparing them needs no tolerance and no knowledge of flatbuffers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel, Quantization, QuantizedConv, QuantizedFullyConnected
from train.errors import Mismatch


@dataclass(frozen=True)
class TfliteLayer:
    """One layer. `stride` is 0 for the classifier; `weight` is OHWI or (O, I); scales are float32 as stored."""

    name: str
    stride: int
    input: Quantization
    output: Quantization
    clamp_min: int
    clamp_max: int
    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]  # (1,) or (O,)
    bias: NDArray[np.int32]
    bias_scale: NDArray[np.float32]  # input scale · weight scale, in float32


@dataclass(frozen=True)
class TfliteNetwork:
    """A whole file: input size and quantization, then the layers that hold weights."""

    input_hwc: tuple[int, int, int]
    input: Quantization
    layers: tuple[TfliteLayer, ...]

    def digest(self) -> str:
        """Hex SHA-256 over every fact, in order."""
        total = hashlib.sha256(repr((self.input_hwc, _plain(self.input))).encode())
        for layer in self.layers:
            for field in fields(layer):
                value = getattr(layer, field.name)
                total.update(f"{field.name}:".encode())
                total.update(value.tobytes() if isinstance(value, np.ndarray) else repr(_plain(value)).encode())
        return total.hexdigest()


def _plain(value: object) -> object:
    return (float(value.scale), value.zero_point) if isinstance(value, Quantization) else value


def network_facts(model: IntegerModel) -> TfliteNetwork:
    """The facts that a file of this integer model must hold."""
    return TfliteNetwork(model.input_hwc, model.input, tuple(_layer_facts(layer) for layer in model.layers))


def _layer_facts(layer: QuantizedConv | QuantizedFullyConnected) -> TfliteLayer:
    if isinstance(layer, QuantizedConv):
        stride, clamp, weight = layer.stride, (layer.clamp_min, layer.clamp_max), layer.weight_ohwi
    else:
        stride, clamp, weight = 0, (-128, 127), layer.weight_oi
    bias_scale = bias_scales(layer.input.scale, layer.weight_scale)
    return TfliteLayer(
        layer.name, stride, layer.input, layer.output, *clamp, weight, layer.weight_scale, layer.bias, bias_scale
    )


def bias_scales(input_scale: np.float32, weight_scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """input_scale · weight_scale in float32, as TFLite expects it within 2 % of the double product."""
    return (input_scale * weight_scale).astype(np.float32)


def compare_facts(expected: TfliteNetwork, actual: TfliteNetwork, source: str) -> None:
    """Raise `Mismatch` naming the first layer and tensor that differ by a single bit."""
    if (expected.input_hwc, expected.input) != (actual.input_hwc, actual.input):
        raise _mismatch(source, "input", "shape or quantization", f"{actual.input_hwc} {actual.input}")
    if len(expected.layers) != len(actual.layers):
        raise _mismatch(source, "all", "number of layers", str(len(actual.layers)))
    for want, have in zip(expected.layers, actual.layers, strict=True):
        for field in fields(want):
            _compare_field(getattr(want, field.name), getattr(have, field.name), source, want.name, field.name)


def _compare_field(want: object, have: object, source: str, layer: str, tensor: str) -> None:
    if not isinstance(want, np.ndarray) or not isinstance(have, np.ndarray):
        if want != have:
            raise _mismatch(source, layer, tensor, f"{have}, the integer model has {want}")
        return
    if want.shape != have.shape or want.dtype != have.dtype:
        raise _mismatch(source, layer, tensor, f"{have.dtype}{have.shape}, expected {want.dtype}{want.shape}")
    wrong = int((want != have).sum())
    if wrong:
        raise _mismatch(source, layer, tensor, f"{wrong} of {want.size} values differ")


def _mismatch(source: str, layer: str, tensor: str, found: str) -> Mismatch:
    return Mismatch(
        f"{source}: layer {layer}, {tensor}: {found}; it must hold the integer model's values bit for bit; "
        "run the convert stage again"
    )
