"""The float net that an integer model stands for: where no latent weights were kept, its own dequantized ones serve."""

from __future__ import annotations

import numpy as np

from convert.float_network import Float64, FloatConv, FloatNetwork
from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected


def dequantized_network(model: IntegerModel) -> FloatNetwork:
    """Weights codebook[indices] · scale and biases bias · input_scale · weight_scale, in the integer model's units."""
    convs = tuple(
        FloatConv(layer.name, _weight(layer).transpose(0, 3, 1, 2), _bias(layer), layer.stride)  # OHWI -> OIHW
        for layer in model.convs
    )
    last = model.classifier
    return FloatNetwork(model.input_hwc, convs, _weight(last), _bias(last))


def _weight(layer: QuantizedConv | QuantizedFullyConnected) -> Float64:
    values = layer.codebook.astype(np.float64)[layer.indices]
    return values * layer.weight_scale.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1))


def _bias(layer: QuantizedConv | QuantizedFullyConnected) -> Float64:
    return layer.bias * (float(layer.input.scale) * layer.weight_scale.astype(np.float64))
