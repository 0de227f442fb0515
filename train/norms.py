"""Batch norms that merge exactly: BatchNorm, and OABN, which bounds the scale of the identity branch.

Both compute y = t · (x − μ) + β per channel. BatchNorm has t = γ / sqrt(σ² + ε); a channel that never activates has
σ ≈ 0 and its t becomes an outlier of the merged kernel. OABN ("outlier-aware", a reconstruction) keeps |t| below a
bound T: t = T · tanh(r / T) with r = γ / sqrt(σ² + ε). Training, evaluation and merge use the same T.
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

    def merged(self) -> tuple[Tensor, Tensor]:
        """(scale t, offset β − μ·t), each (C,), from the running statistics."""
        scale = self.weight / torch.sqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


class OutlierAwareBatchNorm(BatchNorm):
    """OABN: |t| never exceeds the buffer `bound` (T, a scalar without gradient).

    The owning block refreshes T in training: `layer` from its merged kernel, `robust` from the ratios r themselves;
    a `constant` bound never moves. The block sets the first value when it is built.
    """

    def __init__(self, channels: int, config: NormConfig) -> None:
        super().__init__(channels)
        self.kind, self.mode, self.kappa = config.bound, config.mode, config.kappa
        self.register_buffer("bound", torch.tensor(config.constant))

    def bounded_scale(self, variance: Tensor) -> Tensor:
        """t (C,) of a variance (C,); `clip` passes its gradient straight through, so that γ can come back."""
        ratio = self.weight / torch.sqrt(variance + self.eps)
        if self.mode == "tanh":
            return self.bound * torch.tanh(ratio / self.bound)
        clipped = torch.maximum(torch.minimum(ratio, self.bound), -self.bound)
        return _StraightThrough.apply(clipped, ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Batch statistics in training (running ones are updated as BatchNorm2d does), running ones in evaluation."""
        if self.training:
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
            self._track(mean, variance, count=x.numel() // x.shape[1])
        else:
            variance, mean = self.running_var, self.running_mean
        scale = self.bounded_scale(variance)
        return x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]

    def merged(self) -> tuple[Tensor, Tensor]:
        """(scale t, offset β − μ·t), each (C,), from the running statistics and the current bound."""
        scale = self.bounded_scale(self.running_var)
        return scale, self.bias - self.running_mean * scale

    @torch.no_grad()
    def refresh_bound(self, off_diagonal_maximum: Tensor, *, momentum: float) -> None:
        """Move T by its EMA. `off_diagonal_maximum` is max|W'| over the merged kernel without its diagonal."""
        if self.kind == "constant":
            return
        target = self.kappa * off_diagonal_maximum if self.kind == "layer" else self._robust_bound()
        self.bound.lerp_(target, 1 - momentum)

    def _robust_bound(self) -> Tensor:
        ratio = (self.weight / torch.sqrt(self.running_var + self.eps)).abs()
        median = ratio.median()
        return median + ROBUST_DEVIATIONS * MAD_TO_SIGMA * (ratio - median).abs().median()

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked.add_(1)


class _StraightThrough(torch.autograd.Function):
    """The first argument forward; backward the gradient goes to the second unchanged."""

    @staticmethod
    def forward(ctx: object, value: Tensor, source: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def make_identity_norm(channels: int, config: NormConfig) -> BatchNorm:
    """The norm of an identity branch, as the recipe's `norm` section says."""
    return OutlierAwareBatchNorm(channels, config) if config.kind == "oabn" else BatchNorm(channels)
