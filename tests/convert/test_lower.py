"""Lowering: integers verbatim, scales re-based for RELU6, accumulators that fit."""

from __future__ import annotations

import numpy as np
import pytest

from convert.float_network import FloatConv, FloatNetwork
from convert.from_float import lower_float
from convert.lower import LayerPlan, lower
from convert.reference import run
from tests.random_models import random_images
from train.config import QuantizeConfig
from train.errors import UnsupportedLayer


def float_network(seed: int = 0) -> FloatNetwork:
    rng = np.random.default_rng(seed)
    convs, channels = [], 1
    for number, (width, stride) in enumerate([(8, 1), (8, 2), (12, 2)]):
        weight = rng.normal(0, np.sqrt(2 / (9 * channels)), (width, channels, 3, 3))
        convs.append(FloatConv(f"conv{number}", weight, rng.normal(0, 0.1, width), stride))
        channels = width
    return FloatNetwork((8, 8, 1), tuple(convs), rng.normal(0, 0.5, (10, channels)), rng.normal(0, 0.1, 10))


def quantize(**weights) -> QuantizeConfig:
    bits = weights.pop("activation_bits", 8)
    return QuantizeConfig.model_validate({"weights": weights, "activations": {"bit_width": bits}})


@pytest.mark.parametrize(("activation_bits", "per_channel"), [(8, False), (8, True), (4, True)])
def test_an_8_bit_model_follows_its_float_net(activation_bits, per_channel):
    network = float_network()
    images = random_images(np.random.default_rng(5), 200, (8, 8, 1))
    config = quantize(bit_width=8, per_channel_scale=per_channel, activation_bits=activation_bits)
    model = lower_float(network, config, images, tuple("0123456789"))
    logits = (run(model, images).astype(float) - model.classifier.output.zero_point) * model.classifier.output.scale
    expected = network.run(images)
    correlation = np.corrcoef(logits.ravel(), expected.ravel())[0, 1]
    assert correlation > (0.999 if activation_bits == 8 else 0.97)


def test_below_8_activation_bits_6_is_the_top_level():
    model = lower_float(
        float_network(),
        quantize(activation_bits=4),
        random_images(np.random.default_rng(1), 50, (8, 8, 1)),
        tuple("0123456789"),
    )
    for conv in model.convs:
        assert conv.clamp_max == -128 + 15
        assert np.float32(6.0) / conv.output.scale == pytest.approx(15, rel=1e-6)


def plan(**changes) -> LayerPlan:
    values = {
        "name": "conv0",
        "bit_width": 4,
        "codebook": np.array([-5, 0, 9], np.int8),
        "indices": np.ones((2, 3, 3, 1), np.uint8),
        "weight_scale": np.array([0.01], np.float32),
        "bias": np.array([0.5, -0.25]),
        "output_scale": 0.02,
    }
    return LayerPlan(**values | changes)


def classifier(**changes) -> LayerPlan:
    return plan(name="classifier", indices=np.zeros((2, 2), np.uint8), **changes)


def test_codebook_indices_and_scale_travel_verbatim():
    source = plan()
    model = lower([source], classifier(), logits_zero_point=3, input_hwc=(4, 4, 1), class_names=("a", "b"))
    assert model.convs[0].codebook is source.codebook
    assert model.convs[0].indices is source.indices
    assert model.convs[0].weight_scale is source.weight_scale
    assert model.convs[0].bias.tolist() == [
        round(0.5 * 255 / float(np.float32(0.01))),
        round(-0.25 * 255 / float(np.float32(0.01))),
    ]


def test_an_accumulator_beyond_int32_is_refused():
    with pytest.raises(UnsupportedLayer, match="layer conv0: channel 1"):
        lower(
            [plan(bias=np.array([0.0, 1e6]))],
            classifier(),
            logits_zero_point=0,
            input_hwc=(4, 4, 1),
            class_names=("a", "b"),
        )
