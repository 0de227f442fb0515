"""AdaRound and RepAPQ: the error on calibration images falls, what comes out is an integer model, twice the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from convert import reference
from convert.diagonal_split import split, split_logits
from convert.float_network import FloatConv, FloatNetwork
from convert.from_float import lower_float, plan_float
from convert.reconstruction import FloatLayer, Problem, reconstruct, run_plan
from convert.repapq import AffineFit
from tests.random_models import random_images
from train.config import PostTrainingConfig, QuantizeConfig
from train.errors import UnsupportedLayer

HWC = (8, 8, 1)
IMAGES = random_images(np.random.default_rng(0), 48, HWC)
METHODS = ["adaround", "repapq"]
LEVELS = ["kmeans", "uniform_mse"]
CLASSES = tuple("01234")


@pytest.fixture(scope="module")
def merged() -> FloatNetwork:
    """stage1.0, stage2.0 and stage2.1; the last one with a strong diagonal."""
    rng = np.random.default_rng(1)

    def conv(name: str, inputs: int, outputs: int, stride: int, diagonal: float = 0.0) -> FloatConv:
        weight = rng.standard_normal((outputs, inputs, 3, 3)) / np.sqrt(9 * inputs)
        if diagonal:
            weight[np.arange(outputs), np.arange(outputs), 1, 1] += diagonal
        return FloatConv(name, weight, 0.1 * rng.standard_normal(outputs), stride)

    convs = conv("stage1.0", 1, 6, 1), conv("stage2.0", 6, 8, 2), conv("stage2.1", 8, 8, 1, diagonal=3.0)
    return FloatNetwork(HWC, convs, rng.standard_normal((5, 8)), rng.standard_normal(5))


def config(method: str, levels: str = "uniform_mse", bits: int = 3, **more) -> QuantizeConfig:
    post = {"reconstruction": method, "weights": levels, "iterations": 40, **more}
    widths = {"bit_width": bits, "first_bit_width": bits, "last_bit_width": bits}
    return QuantizeConfig.model_validate({"weights": widths, "post_training": post})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("levels", LEVELS)
def test_the_error_on_calibration_images_falls(merged, method, levels):
    start = plan_float(merged, config("none", levels), IMAGES)
    post = PostTrainingConfig(reconstruction=method, iterations=40)
    errors = reconstruct(merged, start.convs, start.classifier, IMAGES, post).errors
    assert list(errors) == ["stage1.0", "stage2.0", "stage2.1", "classifier"]
    assert all(after <= before for before, after in errors.values())
    assert sum(after for _, after in errors.values()) < sum(before for before, _ in errors.values())


def test_better_roundings_bring_the_logits_closer_to_the_float_net(merged):
    def distance(which: str) -> float:
        model = lower_float(merged, config(which), IMAGES, CLASSES)
        logits = (
            reference.run(model, IMAGES).astype(float) - model.classifier.output.zero_point
        ) * model.classifier.output.scale
        return float(np.abs(logits - merged.run(IMAGES)).mean())

    assert distance("adaround") < distance("none")


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_give_the_same_integers(merged, method):
    first, second = (lower_float(merged, config(method), IMAGES, CLASSES) for _ in range(2))
    for one, other in zip(first.layers, second.layers, strict=True):
        assert np.array_equal(one.indices, other.indices)
        assert np.array_equal(one.weight_scale, other.weight_scale)
        assert np.array_equal(one.bias, other.bias)


@pytest.mark.parametrize("levels", LEVELS)
def test_adaround_moves_a_weight_to_a_neighbouring_level_at_most(merged, levels):
    start, fitted = (plan_float(merged, config(method, levels), IMAGES) for method in ("none", "adaround"))
    moved = 0
    for before, after, conv in zip(start.convs, fitted.convs, merged.convs, strict=True):
        assert np.array_equal(before.codebook, after.codebook)
        assert np.array_equal(before.weight_scale, after.weight_scale)
        units = conv.weight_oihw.transpose(0, 2, 3, 1) / before.weight_scale
        inside = (units >= before.codebook.min()) & (units <= before.codebook.max())
        gap = np.diff(before.codebook.astype(int)).max()
        assert np.abs(after.codebook.astype(float)[after.indices] - units)[inside].max() <= gap
        moved += int((before.indices != after.indices).sum())
    assert moved


def test_repapq_folds_its_affine_into_the_scale_per_channel_and_the_bias(merged):
    plan = plan_float(merged, config("none"), IMAGES).convs[0]
    inputs = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    weight = torch.from_numpy(merged.convs[0].weight_oihw).float()
    layer = FloatLayer(weight, torch.from_numpy(merged.convs[0].bias).float())
    fit = AffineFit(Problem(plan, layer, (), inputs, layer(inputs), layer(inputs)))
    with torch.no_grad():
        fit.gain.uniform_(-0.2, 0.2)
        fit.offset.add_(0.3)
        fit.widening.fill_(0.1)
        folded = fit.plan()
        assert folded.weight_scale.shape == (6,)
        # a value on a rounding edge may fall to the other side; everything else is equal to float32's rounding
        different = (run_plan(folded, inputs) - fit(inputs)).abs() > 1e-5
        assert different.float().mean() < 1e-3


def test_the_classifier_keeps_one_scale_per_tensor(merged):
    assert plan_float(merged, config("repapq"), IMAGES).classifier.weight_scale.shape == (1,)


def test_activations_below_eight_bits_are_fitted_too(merged):
    quantize = config("repapq").model_copy(
        update={"activations": QuantizeConfig().activations.model_copy(update={"bit_width": 4})}
    )
    model = lower_float(merged, quantize, IMAGES, CLASSES)
    assert {conv.activation_bits for conv in model.convs} == {4}


def test_the_diagonal_split_takes_the_diagonal_out_of_the_kernel(merged):
    rest, diagonal = split(merged.convs[2])
    assert diagonal is not None
    restored = rest.weight_oihw.copy()
    restored[np.arange(8), np.arange(8), 1, 1] += diagonal
    assert np.array_equal(restored, merged.convs[2].weight_oihw)
    assert split(merged.convs[1])[1] is None


def test_without_its_diagonal_a_kernel_has_finer_uniform_steps(merged):
    rest = replace(merged, convs=(*merged.convs[:2], split(merged.convs[2])[0]))
    steps = [float(plan_float(net, config("none", bits=4), IMAGES).convs[2].weight_scale[0]) for net in (merged, rest)]
    assert steps[1] < 0.6 * steps[0]


def test_the_split_net_computes_the_whole_net(merged):
    quantize = config("none", bits=8)
    wanted = merged.run(IMAGES)
    assert np.abs(split_logits(merged, quantize, IMAGES, IMAGES) - wanted).max() < 0.1 * np.abs(wanted).max()


def test_the_diagonal_split_is_not_lowered(merged):
    with pytest.raises(UnsupportedLayer, match="diagonal_split"):
        lower_float(merged, config("none", diagonal_split=True), IMAGES, CLASSES)
