"""A merged net with every layer quantized at every bit width, so that any mixture of them is put together at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from convert.cluster import GRID, nearest_indices, optimal_codebook
from convert.float_network import FloatNetwork
from convert.integer_model import IntegerModel, LayerShape
from convert.lower import LayerPlan, lower
from convert.post_training import activation_tops, weight_levels
from train.config import QuantizeConfig
from train.model import CLASSIFIER

CODEBOOK_METHODS = ("cluster", "dkm")  # of QAT; the others train uniform levels, or nearly so
SMALLEST_RANGE = 1e-6
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class PostTrained:
    """`plans[bit_width]`: all convolutions, then the classifier. Each plan's weight is codebook[indices] · weight_scale."""

    input_hwc: tuple[int, int, int]
    class_names: tuple[str, ...]
    logits_zero_point: int
    plans: dict[int, tuple[LayerPlan, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The layers with weights, in order."""
        return tuple(plan.name for plan in next(iter(self.plans.values())))

    def model(self, bits: dict[str, int]) -> IntegerModel:
        """The integer model with these bit widths."""
        *convs, classifier = (self.plans[bits[name]][number] for number, name in enumerate(self.names))
        return lower(
            convs,
            classifier,
            logits_zero_point=self.logits_zero_point,
            input_hwc=self.input_hwc,
            class_names=self.class_names,
        )

    def uniform(self, bit_width: int) -> IntegerModel:
        """The integer model with one bit width everywhere."""
        return self.model(dict.fromkeys(self.names, bit_width))

    def weight(self, number: int, bit_width: int) -> Float64:
        """The quantized real weight of a layer, output channel first: OHWI, or OI of the classifier."""
        plan = self.plans[bit_width][number]
        scale = plan.weight_scale.astype(np.float64).reshape(-1, *[1] * (plan.indices.ndim - 1))
        weight: Float64 = plan.codebook[plan.indices].astype(np.float64) * scale
        return weight

    def shapes(self) -> list[LayerShape]:
        """Of the layers with weights."""
        return [shape for shape in self.uniform(min(self.plans)).shapes() if shape.kind != "pool"]


def quantize_after_training(
    merged: FloatNetwork,
    config: QuantizeConfig,
    images: NDArray[np.uint8],
    class_names: tuple[str, ...],
    bit_widths: tuple[int, ...],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> PostTrained:
    """Codebooks by exact k-means (uniform levels where QAT trains such), activation ranges from uint8 `images`."""
    bits = config.activations.bit_width
    peaks, logits = activation_tops(merged, images, config.post_training, bit_width=bits)
    low, high = min(float(logits.min()), 0.0), max(float(logits.max()), SMALLEST_RANGE)
    scale = (high - low) / 255
    outputs = [max(peak, SMALLEST_RANGE) / (2**bits - 1) for peak in peaks]
    plans = {}
    for width in bit_widths:
        say(f"codebooks of {width} bits")
        convs = [
            replace(
                _plan(conv.name, conv.weight_oihw.transpose(0, 2, 3, 1), conv.bias, width, config),
                output_scale=output,
                stride=conv.stride,
                activation_bits=bits,
            )
            for conv, output in zip(merged.convs, outputs, strict=True)
        ]
        last = _plan(CLASSIFIER, merged.classifier_weight, merged.classifier_bias, width, config)
        plans[width] = (*convs, replace(last, output_scale=scale))
    zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
    return PostTrained(merged.input_hwc, class_names, zero_point, plans)


def allowed_bit_widths(config: QuantizeConfig, lowest: int, highest: int) -> tuple[int, ...]:
    """The widths from highest to lowest whose codebooks are not larger than `max_entries` makes useful."""
    most = config.weights.max_entries
    return tuple(width for width in range(highest, lowest - 1, -1) if width == lowest or 2 ** (width - 1) < most)


def _plan(name: str, weight: Float64, bias: Float64, bits: int, config: QuantizeConfig) -> LayerPlan:
    """Codebook and indices of one weight tensor, output channel first; its output scale is still to be set."""
    weights = config.weights
    if weights.method not in CODEBOOK_METHODS:
        uniform = config.post_training.model_copy(update={"weights": "uniform_mse"})
        levels = weight_levels(weight, bits, uniform, per_channel=weights.per_channel_scale)
        return LayerPlan(name, bits, levels.codebook, levels.indices, levels.scale, bias, 1.0)
    rows = weight.reshape(len(weight) if weights.per_channel_scale else 1, -1)
    scale = (np.maximum(np.abs(rows).max(axis=1), 1e-12) / GRID.max()).astype(np.float32)
    units = weight / scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    entries = min(2**bits, weights.max_entries)
    # with all 255 values of the grid there is nothing to choose
    codebook = GRID.astype(np.int8) if entries >= GRID.size else optimal_codebook(units, entries)
    return LayerPlan(name, bits, codebook, np.ascontiguousarray(nearest_indices(units, codebook)), scale, bias, 1.0)
