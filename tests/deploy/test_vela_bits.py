"""What a codebook costs in Vela's encoding: at most its bit width and a tenth of a bit per weight, scale records apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.cluster import nearest_indices, optimal_codebook
from convert.integer_model import Quantization
from convert.tflite_exact import FILE_NAME, write_tflite
from deploy.ethos_u import compile_net
from deploy.targets import load_target
from tests.random_models import random_model

WIDTHS = (
    32,
    16,
    32,
    16,
    32,
    16,
    32,
    16,
    32,
    64,
)  # layers of 4,608 weights, from 32 channels to 16 and back, one of 18,432
BITS = (5, 2, 2, 3, 3, 4, 4, 5, 5, 4)


LEVEL = Quantization(np.float32(0.05), -128)  # what the net computes does not matter here


def trained_like_model():
    """Bell-shaped weights with long tails, as training leaves them, and the optimal codebook of each layer."""
    model = random_model(3, input_hwc=(8, 8, 3), widths=WIDTHS, strides=(1,) * len(WIDTHS), bit_widths=BITS)
    rng, convs = np.random.default_rng(0), []
    for conv in model.convs:
        weight = rng.laplace(size=conv.indices.shape)
        weight *= 127 / np.abs(weight).max()
        codebook = optimal_codebook(weight.ravel(), 2**conv.bit_width)
        convs.append(
            dataclasses.replace(
                conv,
                input=LEVEL if convs else conv.input,
                output=LEVEL,
                codebook=codebook,
                indices=nearest_indices(weight, codebook),
                weight_scale=np.array([0.01], np.float32),
                bias=np.zeros_like(conv.bias),
            )
        )
    classifier = dataclasses.replace(model.classifier, input=LEVEL, output=LEVEL)
    return dataclasses.replace(model, convs=tuple(convs), classifier=classifier)


@pytest.mark.parametrize("name", ["ethos-u55-32", "ethos-u55-256", "ethos-u65-512"])
def test_layers_of_4096_weights_cost_their_bit_width_and_a_tenth(tmp_path, name):
    """The bound holds per value that Vela stores; with 16 input channels it stores three zeros beside each nine weights."""
    model = trained_like_model()
    write_tflite(model, tmp_path / FILE_NAME)
    streams = compile_net(model, tmp_path / FILE_NAME, load_target(name), tmp_path / "vela").streams
    for layer, stream in zip(model.convs, streams, strict=False):
        weights = layer.indices.size
        if weights < 4096:
            continue
        assert stream.stored_values == (weights if layer.indices.shape[-1] >= 32 else weights * 12 // 9)
        assert 8 * stream.weight_bytes / stream.stored_values <= layer.bit_width + 0.1, layer.name
