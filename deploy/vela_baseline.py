"""What the codebook is compared with on an NPU: the same net with uniform int8 weights, for the same compiler.

They are the merged float weights, rounded. A model that came without them (the zoo's hold integers only) has levels drawn
around its codebook's entries in their place: each weight uniformly from the values that are nearest to its entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from deploy.report_weights import dequantize

GRID = np.arange(-127, 128).astype(np.int8)
SEED = 0
FROM_FLOAT = "merged float weights, rounded"
DRAWN = "drawn around the codebook's entries: the model came without float weights"
Layer = QuantizedConv | QuantizedFullyConnected


def uniform_int8(model: IntegerModel, merged: Mapping[str, NDArray[np.float64]]) -> tuple[IntegerModel, str]:
    """(`model` with uniform int8 weights, where they come from); `merged` are float weights (OIHW or OI) by layer.

    One step per tensor, or per output channel where the model's scales are. Everything else stays, so that two
    compilations differ by the weights alone; the result is for sizes and cycles, it is no classifier.
    """
    has_float = not all(_is_dequantized(layer, merged[layer.name]) for layer in model.layers)
    rng = np.random.default_rng(SEED)
    levels = [_rounded(layer, merged[layer.name]) if has_float else _drawn(layer, rng) for layer in model.layers]
    *convs, classifier = [_with_levels(layer, values) for layer, values in zip(model.layers, levels, strict=True)]
    assert isinstance(classifier, QuantizedFullyConnected)
    kept = tuple(conv for conv in convs if isinstance(conv, QuantizedConv))
    return replace(model, convs=kept, classifier=classifier), FROM_FLOAT if has_float else DRAWN


def _is_dequantized(layer: Layer, weight: NDArray[np.float64]) -> bool:
    """Whether these are the codebook's own values, but for float32's rounding."""
    return bool(np.allclose(weight, dequantize(layer), rtol=1e-6, atol=0))


def _rounded(layer: Layer, weight: NDArray[np.float64]) -> NDArray[np.int64]:
    output_first = weight.transpose(0, 2, 3, 1) if weight.ndim == 4 else weight  # (O, I, 3, 3) -> (O, 3, 3, I)
    rows = output_first.reshape(layer.weight_scale.size, -1)
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.rint(rows / largest * GRID.max()).astype(np.int64).reshape(output_first.shape)


def _drawn(layer: Layer, rng: np.random.Generator) -> NDArray[np.int64]:
    entries = np.unique(layer.codebook[layer.indices]).astype(np.int64)
    middles = (entries[1:] + entries[:-1]) // 2
    lowest = np.concatenate([[GRID.min()], middles + 1])
    highest = np.concatenate([middles, [GRID.max()]])
    # the outermost entries reach as far out as in, or training would have moved them
    lowest[0] = max(lowest[0], 2 * entries[0] - highest[0])
    highest[-1] = min(highest[-1], 2 * entries[-1] - lowest[-1])
    places = np.searchsorted(entries, layer.codebook[layer.indices])
    return rng.integers(lowest[places], highest[places], endpoint=True)


def _with_levels(layer: Layer, levels: NDArray[np.int64]) -> Layer:
    return replace(layer, bit_width=8, codebook=GRID, indices=(levels - GRID.min()).astype(np.uint8))
