"""Lowering: what training ended with -> the integer model. Codebook, indices and scales travel verbatim.

Only two things are computed here: int32 biases at input_scale · weight_scale, and, below 8 activation bits, re-based
scales. TFLite has no clamp at an arbitrary level, but it has RELU6: scaling every activation of a ReLU net by a
positive factor and its weights by the quotient changes nothing, so each layer's scales are chosen such that 6.0 is
exactly its top level. The factor lives in `weight_scale`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import (
    IMAGE_INPUT,
    IntegerModel,
    Quantization,
    QuantizedConv,
    QuantizedFullyConnected,
)
from train.errors import UnsupportedLayer

RELU6_TOP = 6.0
ACTIVATION_ZERO_POINT = -128
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class LayerPlan:
    """One layer as training (or calibration) leaves it. `indices` is OHWI or OI; `bias` is real, float64.

    `output_scale` is the real step of the activations after ReLU; for the classifier, of the logits.
    """

    name: str
    bit_width: int
    codebook: NDArray[np.int8]
    indices: NDArray[np.uint8]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.float64]
    output_scale: float
    stride: int = 1
    activation_bits: int = 8


def lower(
    convs: Sequence[LayerPlan],
    classifier: LayerPlan,
    *,
    logits_zero_point: int,
    input_hwc: tuple[int, int, int],
    class_names: Sequence[str],
) -> IntegerModel:
    """The integer model of a plan; `UnsupportedLayer` where int32 cannot hold a layer's accumulator."""
    quantization, factor, lowered = IMAGE_INPUT, 1.0, []
    for plan in convs:
        output, output_factor = _activation_quantization(plan)
        scale = _rebased(plan.weight_scale, output_factor / factor)
        bias = _integer_bias(plan, plan.bias * output_factor, quantization, scale)
        lowered.append(
            QuantizedConv(
                plan.name,
                plan.stride,
                quantization,
                output,
                plan.activation_bits,
                plan.bit_width,
                plan.codebook,
                plan.indices,
                scale,
                bias,
            )
        )
        quantization, factor = output, output_factor
    scale = _rebased(classifier.weight_scale, 1.0 / factor)
    last = QuantizedFullyConnected(
        classifier.name,
        quantization,
        Quantization(np.float32(classifier.output_scale), logits_zero_point),
        classifier.bit_width,
        classifier.codebook,
        classifier.indices,
        scale,
        _integer_bias(classifier, classifier.bias, quantization, scale),
    )
    return IntegerModel(input_hwc, tuple(lowered), last, tuple(class_names))


def _activation_quantization(plan: LayerPlan) -> tuple[Quantization, float]:
    """The output's quantization and the factor by which its real values were scaled to get there."""
    if plan.activation_bits == 8:
        return Quantization(np.float32(plan.output_scale), ACTIVATION_ZERO_POINT), 1.0
    scale = np.float32(RELU6_TOP / (2**plan.activation_bits - 1))
    return Quantization(scale, ACTIVATION_ZERO_POINT), float(scale) / float(plan.output_scale)


def _rebased(weight_scale: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """weight_scale · factor in float32; untouched (bit for bit) where the factor is 1."""
    return weight_scale if factor == 1.0 else (weight_scale.astype(np.float64) * factor).astype(np.float32)


def _integer_bias(
    plan: LayerPlan, bias: NDArray[np.float64], quantization: Quantization, weight_scale: NDArray[np.float32]
) -> NDArray[np.int32]:
    """round(bias / (input_scale · weight_scale)), half to even; the whole accumulator must fit int32."""
    step = float(quantization.scale) * weight_scale.astype(np.float64)
    rounded = np.rint(bias / step)
    weight = np.abs(plan.codebook.astype(np.int64))[plan.indices].reshape(len(bias), -1).sum(axis=1)
    bound = np.abs(rounded) + 255.0 * weight  # |activation − zero_point| <= 255
    if not np.isfinite(bound).all() or bound.max() > INT32_MAX:
        channel = int(np.argmax(np.where(np.isfinite(bound), bound, np.inf)))
        raise UnsupportedLayer(
            f"layer {plan.name}: channel {channel} can reach an accumulator of {bound[channel]:.3g}, allowed up to 2^31 - 1; "
            "its weight scale is too small for its bias: train with a larger weight decay, or with OABN"
        )
    return rounded.astype(np.int32)
