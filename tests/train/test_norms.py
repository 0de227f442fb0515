"""OABN: exact merge is in test_model; here its bound, its limit, its gradient."""

from __future__ import annotations

import pytest
import torch

from tests.train.small_networks import small_network
from train.config import NormConfig
from train.norms import OutlierAwareBatchNorm

FAR = NormConfig(bound="constant", constant=1e6)


def images_with_a_dead_channel(channels: int = 6) -> torch.Tensor:
    x = torch.randn(16, channels, 9, 9, generator=torch.Generator().manual_seed(1)).relu()
    x[:, 3] = 0
    return x


@pytest.mark.parametrize("mode", ["tanh", "clip"])
def test_identity_scale_never_exceeds_the_bound_with_a_dead_channel(mode):
    norm = OutlierAwareBatchNorm(6, NormConfig(bound="constant", constant=0.7, mode=mode))
    with torch.no_grad():
        norm.weight.fill_(2.0)
    for _ in range(300):  # the running variance of the dead channel goes to 0
        norm(images_with_a_dead_channel())
    scale, _ = norm.merged()
    assert norm.running_var[3] < 1e-6
    assert scale.abs().max() <= norm.bound


@pytest.mark.parametrize("mode", ["tanh", "clip"])
def test_merged_kernel_with_a_dead_channel_stays_below_bound_plus_the_other_branches(mode):
    network = small_network(norm=NormConfig(mode=mode))
    block = network.blocks[1]
    block.norm_identity.running_var[3] = 0.0
    others, _ = block._merged_convolutions()
    weight, _ = block.merged_kernel()
    assert weight.abs().max() <= block.norm_identity.bound + others.abs().max()


@pytest.mark.parametrize("mode", ["tanh", "clip"])
def test_infinite_bound_reproduces_batch_norm(mode):
    ours = OutlierAwareBatchNorm(6, FAR.model_copy(update={"mode": mode})).double()
    theirs = torch.nn.BatchNorm2d(6).double()
    x = torch.randn(8, 6, 5, 5, dtype=torch.float64)
    # tanh(r / T) · T differs from r by r³ / 3T² < 1e-12 at r ~ 1, T = 1e6
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-10)


def test_gradient_of_the_smooth_bound_is_that_of_finite_differences():
    norm = OutlierAwareBatchNorm(2, NormConfig(bound="constant", constant=0.5)).double()
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.3, -0.4], dtype=torch.float64, requires_grad=True)

    def forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(norm, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(forward, (x, weight))


def test_clipped_scale_passes_its_gradient_straight_through():
    norm = OutlierAwareBatchNorm(1, NormConfig(bound="constant", constant=0.5, mode="clip"))
    norm.scale_of(torch.tensor([1.0 - norm.eps])).sum().backward()  # ratio 1 is beyond the bound
    assert norm.weight.grad.item() == 1.0


def test_layer_bound_moves_towards_the_largest_weight_off_the_diagonal():
    block = small_network(norm=NormConfig(bound="layer", kappa=2.0)).blocks[1]
    before = block.norm_identity.bound.clone()
    magnitude = block._merged_convolutions()[0].detach().abs()
    magnitude[:, :, 1, 1].fill_diagonal_(0)
    block.train()(torch.rand(2, 6, 4, 4))
    expected = before + 0.01 * (2.0 * magnitude.max() - before)
    torch.testing.assert_close(block.norm_identity.bound, expected)


def test_constant_bound_never_moves():
    block = small_network(norm=NormConfig(bound="constant", constant=0.4)).blocks[1]
    block.train()(torch.rand(2, 6, 4, 4))
    assert block.norm_identity.bound.item() == pytest.approx(0.4)
