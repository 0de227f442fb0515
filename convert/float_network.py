"""The merged float net: a plain stack of 3×3 convolutions with ReLU, global average pooling and a classifier.

`run` is its float64 forward pass; `float32_bound` says how far a float32 runtime may be from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

UNIT_ROUNDOFF = 2.0**-24  # float32, round to nearest
CONFIDENCE = 10.0  # standard deviations


@dataclass(frozen=True)
class FloatConv:
    """A 3×3 convolution, padding 1, with ReLU; `weight_oihw` (O, I, 3, 3), `bias` (O,)."""

    name: str
    weight_oihw: Float64
    bias: Float64
    stride: int

    def __post_init__(self) -> None:
        channels = self.weight_oihw.shape[0]
        if self.weight_oihw.ndim != 4 or self.weight_oihw.shape[2:] != (3, 3):
            raise ValueError(f"layer {self.name}: weight {self.weight_oihw.shape}, allowed (O, I, 3, 3)")
        if self.bias.shape != (channels,):
            raise ValueError(f"layer {self.name}: bias {self.bias.shape}, allowed ({channels},)")
        if self.stride not in (1, 2):
            raise ValueError(f"layer {self.name}: stride {self.stride}, allowed 1 or 2")
        if not (np.isfinite(self.weight_oihw).all() and np.isfinite(self.bias).all()):
            raise ValueError(f"layer {self.name}: NaN or infinite weights; train again or check the checkpoint")


@dataclass(frozen=True)
class FloatNetwork:
    """A whole merged net; `classifier_weight` (classes, C), `classifier_bias` (classes,). Input is pixel / 255."""

    input_hwc: tuple[int, int, int]
    convs: tuple[FloatConv, ...]
    classifier_weight: Float64
    classifier_bias: Float64

    def __post_init__(self) -> None:
        channels = self.input_hwc[2]
        for conv in self.convs:
            if conv.weight_oihw.shape[1] != channels:
                raise ValueError(
                    f"layer {conv.name}: {conv.weight_oihw.shape[1]} input channels, the layer before gives {channels}"
                )
            channels = conv.weight_oihw.shape[0]
        classes = self.classifier_bias.shape[0]
        if self.classifier_weight.shape != (classes, channels):
            raise ValueError(f"classifier: weight {self.classifier_weight.shape}, allowed ({classes}, {channels})")

    def run(self, images: NDArray[np.uint8]) -> Float64:
        """Logits (N, classes) in float64 of uint8 images (N, H, W, C)."""
        value = images.astype(np.float64) / 255
        for conv in self.convs:
            value = np.maximum(convolve(value, conv.weight_oihw, conv.stride) + conv.bias, 0)
        return value.mean(axis=(1, 2)) @ self.classifier_weight.T + self.classifier_bias

    def rounded_to_float32(self) -> FloatNetwork:
        """The net whose parameters are the float32 values that a runtime holds."""
        return self._rounded(np.float32)

    def rounded_to_float16(self) -> FloatNetwork:
        """The net whose parameters are float32 values rounded once more, to half precision."""
        return self.rounded_to_float32()._rounded(np.float16)

    def _rounded(self, kind: type[np.floating]) -> FloatNetwork:
        def rounded(value: Float64) -> Float64:
            return value.astype(kind).astype(np.float64)

        convs = tuple(
            FloatConv(conv.name, rounded(conv.weight_oihw), rounded(conv.bias), conv.stride) for conv in self.convs
        )
        return FloatNetwork(self.input_hwc, convs, rounded(self.classifier_weight), rounded(self.classifier_bias))


def convolve(value: Float64, weight_oihw: Float64, stride: int) -> Float64:
    """(N, H, W, I) -> (N, ceil(H/stride), ceil(W/stride), O): 3×3, padding 1, no bias."""
    count, height, width, _ = value.shape
    out_height, out_width = (height - 1) // stride + 1, (width - 1) // stride + 1
    padded = np.pad(value, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = np.zeros((count, out_height, out_width, weight_oihw.shape[0]))
    for ky in range(3):
        for kx in range(3):
            rows = slice(ky, ky + stride * (out_height - 1) + 1, stride)
            columns = slice(kx, kx + stride * (out_width - 1) + 1, stride)
            total += padded[:, rows, columns] @ weight_oihw[:, :, ky, kx].T
    return total


def float32_bound(network: FloatNetwork, images: NDArray[np.uint8]) -> float:
    """Bound on |float32 runtime − float64 run of the float32 parameters| over all logits of these images.

    A sum of n products in any order makes n roundings, each at most u·Σ|w||x|. The worst case (all of one sign,
    carried through |W| of every later layer) is vacuous for deep nets, so the roundings are taken as independent:
    standard deviation √n·u·Σ|w||x| per sum, carried in quadrature through W² (ReLU does not enlarge it), and the
    bound is CONFIDENCE standard deviations. Pooling takes its inputs' errors as fully correlated.
    """
    value = images.astype(np.float64) / 255
    variance = (UNIT_ROUNDOFF * value) ** 2
    for conv in network.convs:
        terms = conv.weight_oihw[0].size + 1
        magnitude = convolve(value, np.abs(conv.weight_oihw), conv.stride) + np.abs(conv.bias)
        variance = convolve(variance, conv.weight_oihw**2, conv.stride) + terms * (UNIT_ROUNDOFF * magnitude) ** 2
        value = np.maximum(convolve(value, conv.weight_oihw, conv.stride) + conv.bias, 0)
    pooled = value.mean(axis=(1, 2))
    deviation = np.sqrt(variance).mean(axis=(1, 2)) + np.sqrt(value[0, ..., 0].size) * UNIT_ROUNDOFF * pooled
    magnitude = pooled @ np.abs(network.classifier_weight).T + np.abs(network.classifier_bias)
    terms = network.classifier_weight.shape[1] + 1
    total = deviation**2 @ (network.classifier_weight**2).T + terms * (UNIT_ROUNDOFF * magnitude) ** 2
    return float(CONFIDENCE * np.sqrt(total).max(initial=0.0))
