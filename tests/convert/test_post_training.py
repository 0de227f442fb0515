"""Post-training choices: activation ranges and uniform or clustered weights."""

from __future__ import annotations

import numpy as np
import pytest

from convert import reference
from convert.float_network import FloatConv, FloatNetwork
from convert.from_float import lower_float
from convert.post_training import activation_tops, least_squares_top, percentile_top, weight_levels
from tests.random_models import random_images
from train.config import PostTrainingConfig, QuantizeConfig

RNG = np.random.default_rng(0)
HWC = (8, 8, 1)


@pytest.fixture(scope="module")
def merged() -> FloatNetwork:
    convs = (
        FloatConv("stage1.0", 0.4 * RNG.standard_normal((8, 1, 3, 3)), 0.1 * RNG.standard_normal(8), 1),
        FloatConv("stage2.0", 0.2 * RNG.standard_normal((12, 8, 3, 3)), 0.1 * RNG.standard_normal(12), 2),
    )
    return FloatNetwork(HWC, convs, 0.3 * RNG.standard_normal((5, 12)), np.zeros(5))


@pytest.fixture(scope="module")
def images():
    return random_images(np.random.default_rng(1), 130, HWC)


def outlier_weight() -> np.ndarray:
    weight = 0.05 * np.random.default_rng(2).standard_normal((6, 4, 3, 3))
    weight[0, 0, 1, 1] = 2.0
    return weight


def mean_error(weight: np.ndarray, config: PostTrainingConfig, *, bits: int = 4, per_channel: bool = False) -> float:
    levels = weight_levels(weight, bits, config, per_channel=per_channel)
    scale = levels.scale.astype(np.float64).reshape(-1, 1, 1, 1)
    return float(np.square(levels.codebook[levels.indices] * scale - weight).mean())


def test_percentile_and_least_squares_tops_lie_within_the_largest_value(merged, images):
    largest, logits = activation_tops(merged, images, PostTrainingConfig(), bit_width=4)
    for method in ("percentile", "mse"):
        config = PostTrainingConfig(activations=method, percentile=99.0)
        tops, same_logits = activation_tops(merged, images, config, bit_width=4)
        assert all(0 < top <= peak for top, peak in zip(tops, largest, strict=True))
        assert np.array_equal(logits, same_logits)


def test_percentile_100_is_the_largest_value():
    assert percentile_top(np.array([5, 3, 0, 1]), 8.0, 100.0) == 8.0


def test_least_squares_top_ignores_one_outlier_at_2_bits_and_keeps_it_at_8():
    counts = np.zeros(4096, np.int64)
    counts[:400], counts[-1] = 1000, 1
    assert least_squares_top(counts, 10.0, 2) < 2.0
    assert least_squares_top(counts, 10.0, 8) > least_squares_top(counts, 10.0, 2)


@pytest.mark.parametrize("per_channel", [False, True])
def test_errors_of_weights_fall_from_uniform_over_least_squares_to_kmeans(per_channel):
    errors = [
        mean_error(outlier_weight(), PostTrainingConfig(weights=kind), per_channel=per_channel)
        for kind in ("uniform", "uniform_mse", "kmeans")
    ]
    assert errors[0] >= errors[1]
    assert errors[2] <= errors[1] or per_channel  # one codebook for all channels may lose to a step per channel


@pytest.mark.parametrize("kind", ["uniform", "uniform_mse"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_uniform_levels_are_symmetric_with_zero_on_the_int8_grid(kind, bits):
    levels = weight_levels(outlier_weight(), bits, PostTrainingConfig(weights=kind), per_channel=False)
    top = 2 ** (bits - 1) - 1
    assert levels.codebook.dtype == np.int8
    assert levels.codebook.tolist() == list(range(-top, top + 1))
    assert levels.indices.max() < len(levels.codebook)


@pytest.mark.parametrize("weights", ["kmeans", "uniform", "uniform_mse"])
@pytest.mark.parametrize("activations", ["min_max", "mse", "percentile"])
def test_every_choice_lowers_and_follows_the_float_net(merged, images, weights, activations):
    post = PostTrainingConfig(weights=weights, activations=activations)
    config = QuantizeConfig.model_validate({"weights": {"bit_width": 8}, "post_training": post.model_dump()})
    model = lower_float(merged, config, images, tuple("abcde"))
    agreement = (reference.run(model, images).argmax(axis=1) == merged.run(images).argmax(axis=1)).mean()
    assert agreement > 0.85


def test_max_entries_limits_the_clustered_codebook_below_its_bit_width(merged):
    levels = weight_levels(merged.convs[1].weight_oihw, 8, PostTrainingConfig(), per_channel=False, max_entries=32)
    assert levels.codebook.size == 32
    assert 0 in levels.codebook
