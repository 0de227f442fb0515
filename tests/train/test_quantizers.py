"""Weight and activation quantizers: export is exactly what forward computed; gradients are those promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.apot import grid_levels, magnitudes
from train.config import ActivationQuantizerConfig, WeightQuantizerConfig
from train.errors import UnsupportedLayer
from train.quantizers import (
    FloatActivation,
    LsqActivationQuantizer,
    make_activation_quantizer,
    make_weight_quantizer,
)

SHAPE = (6, 5, 3, 3)
METHODS = ["cluster", "dkm", "lsq", "lsq_plus", "uniq", "heq", "apot"]
WITH_ZERO = ["cluster", "dkm", "lsq", "lsq_plus", "apot"]


def kernel(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    weight = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    weight.reshape(-1)[:3] *= 8  # outliers
    return weight


def quantizer_of(method: str, bits: int, *, per_channel: bool = False, shape: tuple[int, ...] = SHAPE):
    quantizer = make_weight_quantizer(
        shape, bits, WeightQuantizerConfig(method=method, bit_width=bits, per_channel_scale=per_channel)
    )
    quantizer.initialise(kernel(shape=shape))
    return quantizer.eval()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, (5, 12)])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("method", METHODS)
def test_exported_weights_are_bitwise_those_of_the_last_forward(method, bits, shape, per_channel):
    quantizer = quantizer_of(method, bits, per_channel=per_channel, shape=shape)
    used = quantizer(kernel(1, shape)).detach().numpy()
    exported = quantizer.export()
    scale = exported.scale.reshape(-1, *[1] * (len(shape) - 1))
    assert exported.codebook.dtype == np.int8 and exported.codebook.size <= 2**bits and exported.codebook.min() >= -127
    assert len(np.unique(exported.codebook)) == len(exported.codebook)
    assert np.array_equal(exported.codebook[exported.indices].astype(np.float32) * scale, used)


@pytest.mark.parametrize("bits", range(2, 9))
def test_cluster_assigns_every_weight_to_its_nearest_entry(bits):
    quantizer, weight = quantizer_of("cluster", bits), kernel()
    error = (quantizer(weight) - weight).abs()
    entries = quantizer.levels() * quantizer.scale
    nearest = (weight[..., None] - entries).abs().amin(dim=-1)
    # two float32 roundings of values up to max|W|
    torch.testing.assert_close(error, nearest, rtol=0, atol=2**-22 * float(weight.abs().max()))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("method", WITH_ZERO)
def test_codebook_holds_zero_where_promised(method, bits):
    assert 0 in quantizer_of(method, bits).export().codebook


@pytest.mark.parametrize("method", ["uniq", "heq"])
def test_symmetric_levels_are_odd_below_8_bits_and_all_of_the_grid_at_8(method):
    for bits in range(2, 8):
        codebook = quantizer_of(method, bits).export().codebook
        assert codebook.tolist() == list(range(-(2**bits - 1), 2**bits, 2))
    assert quantizer_of(method, 8).export().codebook.tolist() == list(range(-127, 128))


def test_apot_levels_are_exact_up_to_6_bits_and_at_most_rounded_beyond():
    assert [magnitudes(bits - 1)[-1] <= 127 for bits in range(2, 9)] == [True] * 5 + [False] * 2
    assert grid_levels(4) == [-10, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 10]
    exact = [127 * value / magnitudes(7)[-1] for value in magnitudes(7)]
    assert set(grid_levels(8)) == {sign * round(value) for value in exact for sign in (1, -1)}


@pytest.mark.parametrize("bits", range(2, 8))
def test_uniq_is_the_papers_equation(bits):
    quantizer, weight = quantizer_of("uniq", bits), kernel(1)
    delta = 2 * quantizer.current_scale().item()
    alpha = delta * (2**bits - 1) / 2
    expected = delta * torch.round(((weight + alpha) / delta).clamp(0, 2**bits - 1)) - alpha
    used = quantizer(weight)
    # float32 rounds W + alpha to 2^-24 of alpha; at a tie that decides for the neighbour
    assert ((used - expected).abs() < 1e-5 * delta).float().mean() > 0.99
    assert (used - expected).abs().max() < 1.001 * delta


def test_heq_uses_the_levels_of_a_uniform_kernel_equally_often():
    weight = torch.linspace(-1, 1, 6 * 5 * 9).reshape(SHAPE)
    quantizer = make_weight_quantizer(SHAPE, 3, WeightQuantizerConfig(method="heq"))
    quantizer.initialise(weight)
    quantizer(weight)
    counts = torch.bincount(quantizer.indices.reshape(-1).long(), minlength=8)
    assert counts.max() - counts.min() <= 2


def test_lsq_plus_start_is_three_deviations_over_the_levels():
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    quantizer = make_weight_quantizer(SHAPE, 4, WeightQuantizerConfig(method="lsq_plus"))
    quantizer.initialise(weight)
    expected = (weight.mean().abs() + 3 * weight.std(correction=0)) / 8
    torch.testing.assert_close(quantizer.current_scale()[0], expected)


def test_dkm_in_training_is_soft_and_near_its_hard_evaluation():
    quantizer, weight = quantizer_of("dkm", 3), kernel().requires_grad_()
    soft = quantizer.train()(weight)
    soft.sum().backward()
    hard = quantizer.eval()(weight)
    assert weight.grad.std() > 0  # the attention differentiates, a straight-through gradient would be all ones
    assert (soft - hard).abs().mean() < 0.1 * weight.abs().mean()


def test_dkm_gradient_is_that_of_finite_differences_of_its_attention():
    quantizer = make_weight_quantizer((1, 1, 3, 3), 2, WeightQuantizerConfig(method="dkm", temperature=0.05)).double()
    units = torch.randn(9, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    start = torch.tensor([-0.5, 0.0, 0.4, 0.9], dtype=torch.float64)
    quantizer.zero_index.fill_(1)

    def soft(units: torch.Tensor) -> torch.Tensor:
        attention, centroids = quantizer._iterate(units, start)
        return attention @ centroids

    assert torch.autograd.gradcheck(soft, (units,))


def test_max_entries_limits_the_codebook_below_its_bit_width():
    config = WeightQuantizerConfig(method="cluster", max_entries=32)
    quantizer = make_weight_quantizer(SHAPE, 6, config)
    quantizer.initialise(kernel())
    assert quantizer.export().codebook.size == 32


def test_summed_codebook_gradient_is_the_mean_times_the_cluster_size():
    quantizer, weight = quantizer_of("cluster", 2), kernel()
    gradients = []
    for averages in (True, False):
        quantizer.averages, quantizer.centroids.grad = averages, None
        quantizer(weight).sum().backward()
        gradients.append(quantizer.centroids.grad)
    counts = torch.bincount(quantizer.indices.reshape(-1).long(), minlength=4)
    torch.testing.assert_close(gradients[1], gradients[0] * counts)


@pytest.mark.parametrize("method", ["lsq", "lsq_plus", "uniq"])
def test_step_gradient_is_the_level_outside_and_level_minus_ratio_inside(method):
    quantizer = quantizer_of(method, 3)
    weight = kernel()
    quantizer(weight).sum().backward()
    ratio = weight / quantizer.step.item()
    level = quantizer.levels()[quantizer.indices.long()]
    inside = (ratio >= quantizer.lowest) & (ratio <= quantizer.highest)
    expected = torch.where(inside, level - ratio, level).sum() / (weight.numel() * quantizer.highest) ** 0.5
    torch.testing.assert_close(quantizer.step.grad[0], expected.detach(), rtol=1e-4, atol=1e-5)


def test_apot_alpha_gradient_is_the_papers():
    quantizer, weight = quantizer_of("apot", 4), kernel()
    quantizer(weight).sum().backward()
    deviation, alpha = quantizer.deviation.item(), quantizer.alpha.item()
    normal = weight / (deviation * alpha)
    projected = quantizer.levels()[quantizer.indices.long()] / quantizer.table[-1]
    slope = torch.where(normal.abs() > 1, normal.sign(), projected - normal)
    expected = deviation * slope.sum() / weight.numel() ** 0.5
    torch.testing.assert_close(quantizer.alpha.grad[0], expected, rtol=1e-4, atol=1e-6)


def test_cluster_gradient_goes_straight_to_the_kernel_and_its_mean_to_the_codebook():
    quantizer, weight = quantizer_of("cluster", 2), kernel().requires_grad_()
    gradient = torch.randn(SHAPE)
    quantizer(weight).backward(gradient)
    units = gradient / quantizer.scale
    means = [units[quantizer.indices == entry].mean() for entry in range(4)]
    assert torch.equal(weight.grad, gradient)
    torch.testing.assert_close(quantizer.centroids.grad, torch.stack(means))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [False, True])
def test_frozen_quantizer_keeps_its_indices_for_another_kernel(method, training):
    quantizer = quantizer_of(method, 3).train(training)
    quantizer(kernel())
    quantizer.freeze()
    indices = quantizer.indices.clone()
    quantizer(kernel(5))
    assert torch.equal(quantizer.indices, indices)


def test_refresh_lowers_the_error_on_a_kernel_that_moved():
    quantizer, moved = quantizer_of("cluster", 4), 1.7 * kernel(3)
    before = (quantizer(moved) - moved).square().mean()
    for _ in range(5):
        quantizer.refresh(moved)
    assert (quantizer(moved) - moved).square().mean() < before


@pytest.mark.parametrize("method", METHODS)
def test_all_zero_kernel_quantizes_to_nearly_zero_with_a_positive_scale(method):
    quantizer = make_weight_quantizer(SHAPE, 4, WeightQuantizerConfig(method=method, per_channel_scale=True))
    quantizer.initialise(torch.zeros(SHAPE))
    used = quantizer(torch.zeros(SHAPE))
    assert torch.isfinite(used).all()
    exact = method in WITH_ZERO and method != "dkm"  # soft assignment mixes in the entries beside zero
    assert used.abs().max() <= (0 if exact else 1e-7)  # a few grid steps of the smallest scale
    assert (quantizer.export().scale > 0).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activation_levels_are_whole_multiples_from_zero(bits):
    quantizer = LsqActivationQuantizer(bits)
    x = torch.linspace(-1, 5, 400).reshape(1, 4, 10, 10)
    quantizer.initialise(x.relu())
    level = quantizer(x) / quantizer.scale
    torch.testing.assert_close(level, level.round())
    assert level.min() == 0
    assert level.max() <= 2**bits - 1


def test_activation_gradient_is_zero_outside_the_range():
    quantizer = LsqActivationQuantizer(2)  # levels 0 to 3 at scale 1
    x = torch.tensor([[-1.0, 0.4, 2.0, 9.0]], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]
    # level − x inside, the top level above: (0 − 0.4) + (2 − 2) + 3, times 1 / sqrt(4 · 3)
    assert quantizer.scale.grad.item() == pytest.approx(2.6 / 12**0.5)


@pytest.mark.parametrize("method", ["lsq_plus", "lsq", "uniq"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_start_of_the_activation_scale_keeps_most_of_the_signal(method, bits):
    x = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0)).relu()
    quantizer = make_activation_quantizer(ActivationQuantizerConfig(method=method, bit_width=bits))
    quantizer.initialise(x)
    assert (quantizer(x) - x).square().mean() < 0.35 * x.square().mean()


def test_methods_named_none_keep_floats_and_refuse_to_be_exported():
    weights = make_weight_quantizer(SHAPE, 4, WeightQuantizerConfig(method="none"))
    activation = make_activation_quantizer(ActivationQuantizerConfig(method="none"))
    weight = kernel()
    assert weights(weight) is weight
    assert isinstance(activation, FloatActivation) and activation(torch.tensor([-1.0, 0.3])).tolist() == pytest.approx(
        [0, 0.3]
    )
    with pytest.raises(UnsupportedLayer, match="method none"):
        weights.export()
    with pytest.raises(UnsupportedLayer, match="method none"):
        activation.current_scale()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("method", ["cluster", "dkm"])
def test_a_codebook_that_trained_wildly_still_is_int8_ascending_and_holds_zero(method, bits):
    quantizer = quantizer_of(method, bits).train()
    weight = torch.nn.Parameter(kernel())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for step in range(6):
            quantizer(weight)
            quantizer.centroids += 40 * torch.randn(quantizer.centroids.shape, generator=generator)  # grid units
            weight += 0.3 * torch.randn(SHAPE, generator=generator)
            if step % 2:
                quantizer.refresh(weight)
    quantizer.eval()
    used = quantizer(weight).detach().numpy()
    exported = quantizer.export()
    assert exported.codebook.dtype == np.int8 and 0 in exported.codebook and exported.codebook.min() >= -127
    assert (np.diff(exported.codebook.astype(int)) > 0).all()
    assert np.array_equal(exported.codebook[exported.indices].astype(np.float32) * exported.scale, used)
