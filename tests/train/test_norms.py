"""Norms: exact merge is in test_model; here bounds, limits and gradients."""

from __future__ import annotations

import pytest
import torch

from tests.train.small_networks import small_network
from train.config import NormConfig
from train.mimic import subtract_weight_mean
from train.norms import (
    OutlierAwareBatchNorm,
    ScaledBatchNorm,
    SharedSigmaBatchNorm,
    SigmaFloorBatchNorm,
    make_branch_norm,
    ratio_penalty,
)

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


def test_sigma_floor_bounds_the_scale_of_a_dead_channel():
    norm = SigmaFloorBatchNorm(6, NormConfig(kind="sigma_floor", alpha=0.5)).double()
    with torch.no_grad():
        norm.weight.fill_(2.0)
    for _ in range(300):
        norm(images_with_a_dead_channel().double())
    median = norm.running_var.median().sqrt()
    assert norm.running_var[3] < 1e-6
    assert norm.merged()[0].abs().max() <= 2.0 / (0.5 * median)


def test_sigma_floor_far_below_every_deviation_reproduces_batch_norm():
    ours = SigmaFloorBatchNorm(6, NormConfig(kind="sigma_floor", alpha=1e-6)).double()
    theirs = torch.nn.BatchNorm2d(6).double()
    x = torch.randn(8, 6, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


def test_shared_sigma_reproduces_batch_norm_where_all_deviations_are_equal():
    ours, theirs = SharedSigmaBatchNorm(6).double(), torch.nn.BatchNorm2d(6).double()
    x = torch.randn(8, 1, 5, 5, dtype=torch.float64).expand(8, 6, 5, 5) + torch.arange(6.0)[:, None, None]
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


def test_shared_sigma_of_a_dead_channel_is_that_of_its_layer():
    norm = SharedSigmaBatchNorm(2)
    assert norm.scale_of(torch.tensor([0.0, 2.0])).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


@pytest.mark.parametrize("kind", ["oabn", "sigma_floor", "shared_sigma"])
def test_gradient_of_every_scaled_norm_is_that_of_finite_differences(kind):
    norm = make_branch_norm("identity", 2, NormConfig(kind=kind, bound="constant", alpha=0.1)).double()
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.tensor([1.3, -0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(norm, {"weight": w}, (x,)), (x, weight))


def test_penalty_counts_only_the_excess_over_its_bound_and_reaches_gamma():
    norm = make_branch_norm("identity", 2, NormConfig(kind="bn"))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([3.0, 0.1]))
        norm.running_var.fill_(1 - norm.eps)
    value = ratio_penalty([norm], NormConfig(penalty=0.1, penalty_bound=1.0))
    value.backward()
    assert value.item() == pytest.approx(0.1 * 2.0**2)
    assert norm.weight.grad.tolist() == pytest.approx([0.1 * 2 * 2.0, 0.0])


def test_oabn_on_other_branches_takes_the_robust_bound_instead_of_the_layers():
    block = small_network(norm=NormConfig(branches=("3x3", "1x1", "identity"))).blocks[1]
    norm = block.norm3x3
    ratio = norm.ratio(norm.running_var).abs()
    expected = norm.bound + 0.01 * (ratio.median() + 3 * 1.4826 * (ratio - ratio.median()).abs().median() - norm.bound)
    block.train()(torch.rand(2, 6, 4, 4))
    torch.testing.assert_close(norm.bound, expected)


def test_qarep_block_has_batch_norm_on_3x3_and_after_the_sum_only():
    block = small_network(norm=NormConfig(kind="qarep")).blocks[1]
    names = [name for name, module in block.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert names == ["norm3x3", "post_norm"]


def test_mimic_norm_keeps_kernels_at_zero_mean_above_50_inputs_and_leaves_smaller_ones():
    network = small_network(norm=NormConfig(kind="mimic"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    network.after_step()
    second = network.blocks[1]
    assert second.conv3x3.weight.mean(dim=(1, 2, 3)).abs().max() < 1e-6
    assert network.blocks[0].conv3x3.weight.mean() > 0.5  # 27 inputs
    assert second.conv1x1.weight.mean() > 0.5  # 6 inputs


def test_weight_mean_is_its_own_projection():
    conv = torch.nn.Conv2d(8, 4, 3).double()
    subtract_weight_mean(conv)
    once = conv.weight.detach().clone()
    subtract_weight_mean(conv)
    torch.testing.assert_close(conv.weight.detach(), once, rtol=0, atol=1e-16)


@pytest.mark.parametrize("mode", ["tanh", "clip"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_training_step_is_the_formula(mode, dtype):
    x = images_with_a_dead_channel().to(memory_format=torch.channels_last).to(dtype)
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    results = []
    for forward in (OutlierAwareBatchNorm.forward, ScaledBatchNorm.forward):
        norm = OutlierAwareBatchNorm(6, NormConfig(bound="constant", constant=0.7, mode=mode))
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-2, 2, 6))
            norm.bias.copy_(torch.linspace(0, 1, 6))
        inputs = x.clone().requires_grad_()
        outputs = forward(norm, inputs)
        outputs.backward(gradient)
        statistics = norm.running_mean, norm.running_var, norm.num_batches_tracked.float()
        results.append([outputs, inputs.grad, norm.weight.grad, norm.bias.grad, *statistics])
    # bfloat16 keeps 8 bits; its sums over 1,296 values are float32 in both
    bound = 1e-5 if dtype == torch.float32 else 2e-2
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found.float(), expected.float(), rtol=bound, atol=bound)
