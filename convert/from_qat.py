"""Plans of a net that went through QAT: its codebooks, indices and scales verbatim, its biases merged in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convert.float_network import FloatNetwork
from convert.integer_model import IntegerModel
from convert.lower import LayerPlan, lower
from train.errors import ArtefactError
from train.model import RepVGG
from train.quantizers import ExportedWeights


def lower_qat(network: RepVGG, merged: FloatNetwork, class_names: tuple[str, ...]) -> IntegerModel:
    """The integer model of a QAT net in eval mode; `merged` is its float64 merge (biases come from there)."""
    plans = []
    for block, conv in zip(network.blocks, merged.convs, strict=True):
        weights, activation = block.weight_quantizer, block.activation_quantizer
        if weights is None or activation is None:
            raise ArtefactError(
                f"layer {block.name}: no quantizers, a QAT checkpoint has them; convert the float phase instead"
            )
        plans.append(
            _plan(
                block.name,
                weights.export(),
                weights.bit_width,
                conv.bias,
                float(activation.current_scale().detach()),
                stride=block.stride,
                activation_bits=activation.bit_width,
            )
        )
    quantizer = network.classifier.weight_quantizer
    if quantizer is None or float(network.logits_scale) <= 0:
        raise ArtefactError("classifier: not quantized or its logits not calibrated; finish the QAT phase first")
    last = _plan(
        "classifier", quantizer.export(), quantizer.bit_width, merged.classifier_bias, float(network.logits_scale)
    )
    return lower(
        plans,
        last,
        logits_zero_point=int(network.logits_zero_point),
        input_hwc=merged.input_hwc,
        class_names=class_names,
    )


def _plan(
    name: str,
    weights: ExportedWeights,
    bit_width: int,
    bias: NDArray[np.float64],
    output_scale: float,
    *,
    stride: int = 1,
    activation_bits: int = 8,
) -> LayerPlan:
    indices = weights.indices.transpose(0, 2, 3, 1) if weights.indices.ndim == 4 else weights.indices  # OIHW -> OHWI
    return LayerPlan(
        name,
        bit_width,
        weights.codebook,
        np.ascontiguousarray(indices),
        weights.scale,
        bias,
        output_scale,
        stride,
        activation_bits,
    )
