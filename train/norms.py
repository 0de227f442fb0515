"""Norms that merge exactly: each computes y = t · (x − μ) + β per channel and can say what it merges to.

What differs is the scale t. With r = γ / sqrt(σ² + ε):

| class | t | source |
|---|---|---|
| `BatchNorm` | r | Ioffe & Szegedy 2015 |
| `OutlierAwareBatchNorm` | T · tanh(r / T), or r clipped to ±T | OABN, a reconstruction of Niu et al. 2024 (arXiv 2402.07200) |
| `SigmaFloorBatchNorm` | γ / sqrt(max(σ², (α · median σ)²) + ε) | our rival to it: a floor for dead channels |
| `SharedSigmaBatchNorm` | γ / sqrt(mean σ² + ε) | our rival to it: one σ per layer |
| `NoNorm` | 1 | the identity branch of QARepVGG's M2 (Chu et al. 2024, arXiv 2212.01593) |
| `BranchScale` | a trained number per branch, μ = 0 | MimicNorm (arXiv 2010.09278): nothing depends on σ |

A channel that never activates has σ ≈ 0; BatchNorm's t then becomes an outlier of the merged kernel. Training,
evaluation and merge use the same formula for t, so merging is exact for all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.config import NormConfig

BOUND_MOMENTUM = 0.99  # share of the old bound that one step keeps
MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
ROBUST_DEVIATIONS = 3.0


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm2d that can say what it merges to."""

    def scale_of(self, variance: Tensor) -> Tensor:
        """t (C,) of a variance (C,)."""
        return self.ratio(variance)

    def ratio(self, variance: Tensor) -> Tensor:
        """r = γ / sqrt(σ² + ε), (C,)."""
        return self.weight / torch.sqrt(variance + self.eps)

    def merged(self) -> tuple[Tensor, Tensor]:
        """(scale t, offset β − μ·t), each (C,), from the running statistics."""
        scale = self.scale_of(self.running_var)
        return scale, self.bias - self.running_mean * scale


class ScaledBatchNorm(BatchNorm):
    """A batch norm with another t: children override `scale_of`."""

    def forward(self, x: Tensor) -> Tensor:
        """Batch statistics in training (running ones are updated as BatchNorm2d does), running ones in evaluation."""
        if self.training:
            variance, mean = torch.var_mean(x.to(self.running_mean.dtype), dim=(0, 2, 3), correction=0)
            self._track(mean, variance, count=x.numel() // x.shape[1])
        else:
            variance, mean = self.running_var, self.running_mean
        scale = self.scale_of(variance)
        return (x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked.add_(1)


class OutlierAwareBatchNorm(ScaledBatchNorm):
    """OABN: |t| never exceeds the buffer `bound` (T, a scalar without gradient).

    The owning block refreshes T in training: `layer` from its merged kernel, `robust` from the ratios r themselves
    (median + 3 deviations); a `constant` bound never moves. The block sets the first value when it is built.
    """

    def __init__(self, channels: int, config: NormConfig) -> None:
        super().__init__(channels)
        self.kind, self.mode, self.kappa = config.bound, config.mode, config.kappa
        self.register_buffer("bound", torch.tensor(config.constant))

    def scale_of(self, variance: Tensor) -> Tensor:
        """t (C,); `clip` passes its gradient straight through, so that γ can come back."""
        ratio = self.ratio(variance)
        if self.mode == "tanh":
            return self.bound * torch.tanh(ratio / self.bound)
        clipped = torch.maximum(torch.minimum(ratio, self.bound), -self.bound)
        return _StraightThrough.apply(clipped, ratio)

    @torch.no_grad()
    def refresh_bound(self, off_diagonal_maximum: Tensor, *, momentum: float) -> None:
        """Move T by its EMA. `off_diagonal_maximum` is max|W'| over the merged kernel without its diagonal."""
        if self.kind == "constant":
            return
        target = self.kappa * off_diagonal_maximum if self.kind == "layer" else self._robust_bound()
        self.bound.lerp_(target, 1 - momentum)

    @torch.no_grad()
    def refresh_robust_bound(self, *, momentum: float) -> None:
        """A branch with a kernel of its own: the layer's weights say nothing of its ratio, so `layer` acts as `robust`."""
        if self.kind != "constant":
            self.bound.lerp_(self._robust_bound(), 1 - momentum)

    def _robust_bound(self) -> Tensor:
        ratio = self.ratio(self.running_var).abs()
        median = ratio.median()
        return median + ROBUST_DEVIATIONS * MAD_TO_SIGMA * (ratio - median).abs().median()


class SigmaFloorBatchNorm(ScaledBatchNorm):
    """t = γ / sqrt(max(σ², (α · median σ)²) + ε): a dead channel counts as one of α times the usual deviation.

    It bounds |t| by |γ| / (α · median σ); a large γ stays large. The median carries no gradient.
    """

    def __init__(self, channels: int, config: NormConfig) -> None:
        super().__init__(channels)
        self.alpha = config.alpha

    def scale_of(self, variance: Tensor) -> Tensor:
        floor = self.alpha**2 * variance.detach().median()  # the median of σ² is the square of the median of σ
        return self.ratio(torch.maximum(variance, floor))


class SharedSigmaBatchNorm(ScaledBatchNorm):
    """t = γ / sqrt(mean over channels of σ² + ε): one deviation per layer."""

    def scale_of(self, variance: Tensor) -> Tensor:
        return self.ratio(variance.mean().expand_as(variance))


class NoNorm(nn.Module):
    """y = x, as a norm: t = 1, offset 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def merged(self) -> tuple[Tensor, Tensor]:
        """(ones, zeros), each (C,)."""
        return self.unit, torch.zeros_like(self.unit)


class BranchScale(nn.Module):
    """y = s · x + β with one trained s per branch; β (C,), starting at 0, only in the branch that holds the block's bias."""

    def __init__(self, channels: int, *, start: float, has_bias: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(start))
        if has_bias:
            self.bias = nn.Parameter(torch.zeros(channels))
        else:
            self.register_buffer("bias", torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x * self.scale + self.bias[:, None, None]

    def merged(self) -> tuple[Tensor, Tensor]:
        """(s for every channel, β), each (C,)."""
        return self.scale.expand_as(self.bias), self.bias


Norm = BatchNorm | NoNorm | BranchScale


class _StraightThrough(torch.autograd.Function):
    """The first argument forward; backward the gradient goes to the second unchanged."""

    @staticmethod
    def forward(ctx: object, value: Tensor, source: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def make_branch_norm(branch: str, channels: int, config: NormConfig) -> BatchNorm | NoNorm:
    """The norm of a branch (`identity`, `1x1`, `3x3`), as the recipe's `norm` section says; not for `mimic`."""
    if config.kind == "qarep":
        return BatchNorm(channels) if branch == "3x3" else NoNorm(channels)
    if config.kind == "bn" or branch not in config.branches:
        return BatchNorm(channels)
    if config.kind == "oabn":
        return OutlierAwareBatchNorm(channels, config)
    if config.kind == "sigma_floor":
        return SigmaFloorBatchNorm(channels, config)
    return SharedSigmaBatchNorm(channels) if config.kind == "shared_sigma" else NoNorm(channels)


def ratio_penalty(norms: list[BatchNorm], config: NormConfig) -> Tensor:
    """λ · Σ_layers Σ_c max(0, |r_c| − T)² of the identity norms, r from the running statistics (gradient to γ only).

    The rival of OABN that needs no operator (methods' R3): OABN bounds t, this only makes a large ratio expensive.
    """
    excess = [(norm.ratio(norm.running_var).abs() - config.penalty_bound).clamp_min(0) for norm in norms]
    return config.penalty * torch.stack([term.square().sum() for term in excess]).sum()
