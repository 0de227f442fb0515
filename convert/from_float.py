"""Plans of a net that never saw quantization: levels and ranges as `quantize.post_training` says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convert.float_network import FloatNetwork
from convert.integer_model import IntegerModel
from convert.lower import LayerPlan, lower
from convert.post_training import activation_tops, weight_levels
from train.config import QuantizeConfig
from train.errors import ConfigError, DataError

LEVELS = 255


def lower_float(
    merged: FloatNetwork, config: QuantizeConfig, images: NDArray[np.uint8], class_names: tuple[str, ...]
) -> IntegerModel:
    """Post-training quantization of a merged net from calibration images, uint8 (N, H, W, C)."""
    if not len(images):
        raise DataError("no calibration images; a net without QAT needs at least one training image to find its ranges")
    names = [conv.name for conv in merged.convs]
    unknown = sorted(set(config.weights.layers) - {*names, "classifier"})
    if unknown:
        raise ConfigError(
            f"quantize.weights.layers: no layer {unknown[0]}; allowed are {', '.join([*names, 'classifier'])}"
        )
    bits = config.activations.bit_width
    peaks, logits = activation_tops(merged, images, config.post_training, bit_width=bits)
    plans = [
        _plan(
            conv.name,
            conv.weight_oihw.transpose(0, 2, 3, 1),
            conv.bias,
            _bits(config, conv.name, first=number == 0),
            config,
        )
        for number, conv in enumerate(merged.convs)
    ]
    convs = [
        _with_output(plan, max(peak, 1e-6) / (2**bits - 1), conv.stride, bits)
        for plan, conv, peak in zip(plans, merged.convs, peaks, strict=True)
    ]
    low, high = min(float(logits.min()), 0.0), max(float(logits.max()), 1e-6)
    scale = (high - low) / LEVELS
    classifier = _plan(
        "classifier", merged.classifier_weight, merged.classifier_bias, _bits(config, "classifier", first=False), config
    )
    return lower(
        convs,
        _with_output(classifier, scale, 1, 8),
        logits_zero_point=int(np.clip(np.rint(-128 - low / scale), -128, 127)),
        input_hwc=merged.input_hwc,
        class_names=class_names,
    )


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


def _with_output(plan: LayerPlan, output_scale: float, stride: int, activation_bits: int) -> LayerPlan:
    return LayerPlan(
        plan.name,
        plan.bit_width,
        plan.codebook,
        plan.indices,
        plan.weight_scale,
        plan.bias,
        output_scale,
        stride,
        activation_bits,
    )
