"""What the codebook is compared with on an NPU: the same net with uniform int8 weights, for the same compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected

GRID = np.arange(-127, 128).astype(np.int8)
Layer = QuantizedConv | QuantizedFullyConnected


def uniform_int8(model: IntegerModel, merged: Mapping[str, NDArray[np.float64]]) -> IntegerModel:
    """`model` with each layer's merged float weights (OIHW or OI) on 255 equal steps up to their largest magnitude.

    One step per tensor, or per output channel where the model's scales are. Everything else stays, so that two
    compilations differ by the weights alone; the result is for sizes and cycles, it is no classifier.
    """
    *convs, classifier = [_uniform(layer, merged[layer.name]) for layer in model.layers]
    assert isinstance(classifier, QuantizedFullyConnected)
    return replace(model, convs=tuple(conv for conv in convs if isinstance(conv, QuantizedConv)), classifier=classifier)


def _uniform(layer: Layer, weight: NDArray[np.float64]) -> Layer:
    output_first = weight.transpose(0, 2, 3, 1) if weight.ndim == 4 else weight  # (O, I, 3, 3) -> (O, 3, 3, I)
    rows = output_first.reshape(layer.weight_scale.size, -1)
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    levels = np.rint(rows / largest * GRID.max()).astype(np.int64).reshape(output_first.shape)
    return replace(layer, bit_width=8, codebook=GRID, indices=(levels - GRID.min()).astype(np.uint8))
