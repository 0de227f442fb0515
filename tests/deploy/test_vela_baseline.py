"""The net that codebooks are compared with has uniform int8 weights, and nothing else of it is changed."""

from __future__ import annotations

import dataclasses

import numpy as np

from deploy.report_weights import dequantize
from deploy.vela_baseline import DRAWN, FROM_FLOAT, GRID, uniform_int8
from tests.random_models import random_model

MODEL = random_model(4)


def test_float_weights_are_rounded_to_255_steps_per_channel_of_scale():
    rng = np.random.default_rng(0)
    merged = {layer.name: rng.normal(size=dequantize(layer).shape) for layer in MODEL.layers}
    plain, origin = uniform_int8(MODEL, merged)
    assert origin == FROM_FLOAT
    weight = merged["conv2"].transpose(0, 2, 3, 1)  # OIHW -> OHWI
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    assert np.abs(plain.convs[2].weight_ohwi - weight / step).max() <= 0.5
    assert np.abs(plain.convs[2].weight_ohwi).reshape(16, -1).max(axis=1).tolist() == [127] * 16


def test_without_float_weights_each_level_is_nearest_to_its_own_entry():
    plain, origin = uniform_int8(MODEL, {layer.name: dequantize(layer) for layer in MODEL.layers})
    assert origin == DRAWN
    for layer, drawn in zip(MODEL.convs, plain.convs, strict=True):
        entries = np.unique(layer.weight_ohwi).astype(int)
        distance = np.abs(drawn.weight_ohwi.astype(int)[..., None] - entries).min(axis=-1)
        own = np.abs(drawn.weight_ohwi.astype(int) - layer.weight_ohwi)
        assert (own <= distance + 1).all()  # a value midway may go to either
        assert np.unique(drawn.weight_ohwi).size > entries.size or entries.size > 100


def test_only_the_weights_change():
    plain, _ = uniform_int8(MODEL, {layer.name: dequantize(layer) for layer in MODEL.layers})
    for layer, other in zip(MODEL.layers, plain.layers, strict=True):
        assert (other.bit_width, other.indices.shape) == (8, layer.indices.shape)
        assert np.array_equal(other.codebook, GRID)
        same = dataclasses.replace(other, bit_width=layer.bit_width, codebook=layer.codebook, indices=layer.indices)
        assert all(np.array_equal(getattr(same, name), getattr(layer, name)) for name in ("bias", "weight_scale"))
        assert (same.input, same.output) == (layer.input, layer.output)
