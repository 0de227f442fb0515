"""Before QAT: the branches' statistics move into their kernels, so that one learning rate serves every layer.

QAT trains the branches of W' = t₃·W₃ + pad(t₁·W₁) + diag(t₀) with running statistics. A step of rate η on a branch kernel
moves W' by η·t²·∂L/∂W', and a step on γ by η/σ² as much; after a long float phase weight decay has made kernels and σ
small and t large, so that a usual rate destroys the net within an epoch. Folding replaces W by t·W and γ, μ, σ² by
1, μ·t, 1: the same function, branch by branch, with steps of η in W'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.model import RepVGG
from train.norms import BatchNorm, OutlierAwareBatchNorm


@torch.no_grad()
def fold_branches(network: RepVGG) -> None:
    """Rewrite every branch in place; the merged kernels stay as they are, up to float32's rounding."""
    for block in network.blocks:
        for kernel, norm in ((block.conv3x3, block.norm3x3), (block.conv1x1, block.norm1x1)):
            if isinstance(norm, OutlierAwareBatchNorm):
                _unit_variance(norm)  # its bound T holds for t itself, which therefore stays
            elif isinstance(norm, BatchNorm):
                _fold_into(kernel, norm)
        for single in (block.norm_identity, block.post_norm):
            if isinstance(single, BatchNorm):
                _unit_variance(single)


def _fold_into(kernel: nn.Conv2d, norm: BatchNorm) -> None:
    """W ← t·W, then γ = σ = 1."""
    gain = _ratio_at_unit_variance(norm)
    kernel.weight.mul_(gain[:, None, None, None])
    norm.running_mean.mul_(gain)
    norm.weight.fill_(1.0)


def _unit_variance(norm: BatchNorm) -> None:
    """γ ← what keeps t where σ² becomes 1; the offset β − μ·t stays, and γ's step is one of t (OABN: of its ratio)."""
    norm.weight.copy_(_ratio_at_unit_variance(norm))


def _ratio_at_unit_variance(norm: BatchNorm) -> Tensor:
    """Set σ² to 1 and return the γ (C,) that leaves the ratio as it was; γ itself is 1 afterwards."""
    ratio_of = norm.ratio if isinstance(norm, OutlierAwareBatchNorm) else norm.scale_of
    before = ratio_of(norm.running_var)
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1.0)
    return before / ratio_of(norm.running_var)
