"""Plans of a net that never saw quantization: levels and ranges as `quantize.post_training` says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from convert.float_network import FloatNetwork
from convert.integer_model import IntegerModel
from convert.lower import LayerPlan, lower
from convert.post_training import activation_tops, weight_levels
from convert.reconstruction import reconstruct
from train.config import QuantizeConfig
from train.errors import ConfigError, DataError, UnsupportedLayer

LEVELS = 255


@dataclass(frozen=True)
class FloatPlan:
    """Every layer's levels and scales; int8 logits = round(logit / scale) + `logits_zero_point`."""

    convs: tuple[LayerPlan, ...]
    classifier: LayerPlan
    logits_zero_point: int


def lower_float(
    merged: FloatNetwork, config: QuantizeConfig, images: NDArray[np.uint8], class_names: tuple[str, ...]
) -> IntegerModel:
    """Post-training quantization of a merged net from calibration images without labels, uint8 (N, H, W, C)."""
    if config.post_training.diagonal_split:
        raise UnsupportedLayer(
            "quantize.post_training.diagonal_split: its per-channel scale beside the convolution is no layer of the integer "
            "model; it is a rival whose accuracy is measured (make bench-accuracy); allowed here is false"
        )
    plan = plan_float(merged, config, images)
    return lower(
        plan.convs,
        plan.classifier,
        logits_zero_point=plan.logits_zero_point,
        input_hwc=merged.input_hwc,
        class_names=class_names,
    )


def plan_float(merged: FloatNetwork, config: QuantizeConfig, images: NDArray[np.uint8]) -> FloatPlan:
    """Levels as `quantize.post_training` says, fitted to the float layers' outputs where it asks for that."""
    if not len(images):
        raise DataError("no calibration images; a net without QAT needs at least one training image to find its ranges")
    names = [*(conv.name for conv in merged.convs), "classifier"]
    unknown = sorted(set(config.weights.layers) - set(names))
    if unknown:
        raise ConfigError(f"quantize.weights.layers: no layer {unknown[0]}; allowed are {', '.join(names)}")
    bits = config.activations.bit_width
    peaks, logits = activation_tops(merged, images, config.post_training, bit_width=bits)
    convs = []
    for number, (conv, peak) in enumerate(zip(merged.convs, peaks, strict=True)):
        width = _bits(config, conv.name, first=number == 0)
        plan = _plan(conv.name, conv.weight_oihw.transpose(0, 2, 3, 1), conv.bias, width, config)
        step = max(peak, 1e-6) / (2**bits - 1)
        convs.append(replace(plan, output_scale=step, stride=conv.stride, activation_bits=bits))
    low, high = min(float(logits.min()), 0.0), max(float(logits.max()), 1e-6)
    scale = (high - low) / LEVELS
    width = _bits(config, "classifier", first=False)
    last = _plan("classifier", merged.classifier_weight, merged.classifier_bias, width, config)
    last = replace(last, output_scale=scale)
    if config.post_training.reconstruction != "none":
        fitted = reconstruct(merged, convs, last, images, config.post_training)
        convs, last = list(fitted.convs), fitted.classifier
    return FloatPlan(tuple(convs), last, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _bits(config: QuantizeConfig, name: str, *, first: bool) -> int:
    weights = config.weights
    default = weights.first_bit_width if first else weights.bit_width
    return weights.layers.get(name, weights.last_bit_width if name == "classifier" else default)


def _plan(
    name: str, weight: NDArray[np.float64], bias: NDArray[np.float64], bits: int, config: QuantizeConfig
) -> LayerPlan:
    """Codebook and indices of one weight tensor, output channel first."""
    weights = config.weights
    levels = weight_levels(
        weight, bits, config.post_training, per_channel=weights.per_channel_scale, max_entries=weights.max_entries
    )
    return LayerPlan(name, bits, levels.codebook, levels.indices, levels.scale, bias, 1.0)
