"""Weight and activation quantizers: export is exactly what forward computed; gradients are those promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.config import WeightQuantizerConfig
from train.quantizers import LsqActivationQuantizer, make_weight_quantizer

SHAPE = (6, 5, 3, 3)


def kernel(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    weight = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    weight.reshape(-1)[:3] *= 8  # outliers
    return weight


def quantizer_of(method: str, bits: int, *, per_channel: bool = False, shape: tuple[int, ...] = SHAPE):
    quantizer = make_weight_quantizer(
        shape, bits, WeightQuantizerConfig(method=method, bit_width=bits, per_channel_scale=per_channel)
    )
    quantizer.initialise(kernel(shape=shape))
    return quantizer


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, (5, 12)])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("method", ["cluster", "lsq"])
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


def test_cluster_codebook_holds_zero():
    assert 0 in quantizer_of("cluster", 2).export().codebook


def test_cluster_gradient_goes_straight_to_the_kernel_and_its_mean_to_the_codebook():
    quantizer, weight = quantizer_of("cluster", 2), kernel().requires_grad_()
    gradient = torch.randn(SHAPE)
    quantizer(weight).backward(gradient)
    units = gradient / quantizer.scale
    means = [units[quantizer.indices == entry].mean() for entry in range(4)]
    assert torch.equal(weight.grad, gradient)
    torch.testing.assert_close(quantizer.centroids.grad, torch.stack(means))


@pytest.mark.parametrize("method", ["cluster", "lsq"])
def test_frozen_quantizer_keeps_its_indices_for_another_kernel(method):
    quantizer = quantizer_of(method, 3)
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


@pytest.mark.parametrize("method", ["cluster", "lsq"])
def test_all_zero_kernel_quantizes_to_zero_with_a_positive_scale(method):
    quantizer = make_weight_quantizer(SHAPE, 4, WeightQuantizerConfig(method=method, per_channel_scale=True))
    quantizer.initialise(torch.zeros(SHAPE))
    assert not quantizer(torch.zeros(SHAPE)).any()
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
