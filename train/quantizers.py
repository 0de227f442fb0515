"""The quantizers by the names of the recipe. Each has its module; the weight quantizers share `train.quantizer`.

A weight quantizer turns a merged kernel into `codebook[indices] · scale`, bit for bit in float32 what it exports.
Gradients pass straight through to the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from train.activation import ActivationQuantizer, FloatActivation, LsqActivationQuantizer, make_activation_quantizer
from train.apot import ApotWeightQuantizer
from train.cluster import ClusterQuantizer, DkmQuantizer
from train.config import WeightQuantizerConfig
from train.errors import UnsupportedLayer
from train.quantizer import ExportedWeights, WeightQuantizer
from train.uniform import HeqWeightQuantizer, LsqPlusWeightQuantizer, LsqWeightQuantizer, UniqWeightQuantizer

__all__ = [
    "ActivationQuantizer",
    "ExportedWeights",
    "FloatActivation",
    "LsqActivationQuantizer",
    "WeightQuantizer",
    "make_activation_quantizer",
    "make_weight_quantizer",
]


class FloatWeights(WeightQuantizer):
    """`none`: weights stay in float; the control of the ablations."""

    def initialise(self, weight: Tensor) -> None:
        """Nothing to start."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight

    def current_scale(self) -> Tensor:
        """Refused, as everything that an integer model would need."""
        raise self._refusal()

    def levels(self) -> Tensor:
        """Refused: there is no codebook."""
        raise self._refusal()

    def export(self) -> ExportedWeights:
        """Refused: an integer model cannot hold float weights."""
        raise self._refusal()

    def _refusal(self) -> UnsupportedLayer:
        return UnsupportedLayer(
            "weights: quantize.weights.method none keeps them in float, allowed in a model to convert is every other "
            "method; train with one of these"
        )


METHODS: dict[str, Callable[[tuple[int, ...], int, WeightQuantizerConfig], WeightQuantizer]] = {
    "cluster": ClusterQuantizer,
    "dkm": DkmQuantizer,
    "lsq": LsqWeightQuantizer,
    "lsq_plus": LsqPlusWeightQuantizer,
    "uniq": UniqWeightQuantizer,
    "heq": HeqWeightQuantizer,
    "apot": ApotWeightQuantizer,
    "none": FloatWeights,
}


def make_weight_quantizer(shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> WeightQuantizer:
    """The weight quantizer that the recipe's `quantize.weights` section names."""
    return METHODS[config.method](shape, bit_width, config)
