"""Folding the branches' statistics into their kernels before QAT."""

from __future__ import annotations

import pytest
import torch

from tests.train.small_networks import small_network
from train.config import NormConfig
from train.fold import fold_branches
from train.norms import BatchNorm

KINDS = [
    NormConfig(kind="bn"),
    NormConfig(kind="oabn"),
    NormConfig(kind="oabn", mode="clip", bound="constant"),
    NormConfig(kind="oabn", branches=("identity", "1x1", "3x3")),
    NormConfig(kind="sigma_floor", alpha=2.0),
    NormConfig(kind="shared_sigma"),
    NormConfig(kind="none"),
    NormConfig(kind="qarep"),
    NormConfig(kind="mimic"),
]


@pytest.mark.parametrize("norm", KINDS, ids=lambda norm: f"{norm.kind}-{norm.mode}-{len(norm.branches)}")
def test_folding_leaves_the_merged_kernels_and_every_branch_as_they_are(norm):
    network = small_network(norm=norm).double()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    before = [block.merged_kernel() for block in network.blocks]
    logits = network(images)
    fold_branches(network)
    # relative to a ratio's size: with σ² near 0 it is up to 1.5 / sqrt(ε) = 474, and σ² = 1 − ε is stored rounded
    for block, (weight, bias) in zip(network.blocks, before, strict=True):
        folded_weight, folded_bias = block.merged_kernel()
        assert torch.allclose(folded_weight, weight, rtol=1e-10, atol=1e-10)
        assert torch.allclose(folded_bias, bias, rtol=1e-10, atol=1e-10)
    assert torch.allclose(network(images), logits, rtol=1e-9, atol=1e-9)  # branch by branch, not merged


def test_after_folding_a_step_of_a_kernel_is_the_same_step_of_the_merged_kernel():
    network = small_network(norm=NormConfig(kind="bn"))
    fold_branches(network)
    for block in network.blocks:
        for norm in (block.norm3x3, block.norm1x1):
            assert isinstance(norm, BatchNorm)
            assert torch.allclose(norm.merged()[0], torch.ones_like(norm.bias), atol=1e-6)
        gradient = torch.randn(block.conv3x3.weight.shape)
        block.merged_kernel()[0].backward(gradient)
        assert torch.allclose(block.conv3x3.weight.grad, gradient, rtol=1e-5, atol=1e-6)


def test_a_dead_channel_of_the_identity_keeps_its_ratio_and_gets_a_finite_gradient():
    network = small_network(norm=NormConfig(kind="bn"))
    norm = next(block.norm_identity for block in network.blocks if block.norm_identity is not None)
    ratio = norm.ratio(norm.running_var).detach()
    fold_branches(network)
    assert torch.allclose(norm.weight, ratio, rtol=1e-5)
    assert torch.allclose(norm.running_var, torch.ones_like(norm.running_var), atol=2e-5)
