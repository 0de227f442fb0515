"""Weight quantizers with equally spaced levels: LSQ, LSQ+, UniQ, HEQ.

LSQ and LSQ+ have the levels −2^(b−1) … 2^(b−1)−1 (8 bits: −127 … 127), zero among them. UniQ and HEQ have n = 2^b levels
symmetric around zero, at (k − (n−1)/2)·Δ: none of them is zero. On the int8 grid they are the odd numbers −(n−1) … n−1
times a scale of Δ/2, exactly. At 8 bits these would need 9 bits, so n is 255 there: −127 … 127, with zero, scale Δ.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from train.codebook import GRID_MAX
from train.config import WeightQuantizerConfig
from train.quantizer import SMALLEST_SCALE, ScaledLevels, WeightQuantizer

# Δ/σ of least squared error for normally distributed weights (UniQ, Pham et al. 2021, from the authors' code)
GAUSSIAN_STEP = {2: 0.9957, 3: 0.5860, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.05687, 8: 0.03076}


class UniformWeightQuantizer(WeightQuantizer):
    """Levels `lowest`, `lowest + spacing`, … `highest` on the grid, times a trained `step` (the grid's)."""

    lowest: int
    highest: int
    spacing = 1
    can_hold = True

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__(shape, bit_width, config)
        self._set_levels()
        self.step = nn.Parameter(torch.ones(self.scale_size))

    def _set_levels(self) -> None:
        self.lowest, self.highest = max(-(2 ** (self.bit_width - 1)), -GRID_MAX), 2 ** (self.bit_width - 1) - 1

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        self.step.copy_(self.start_step(weight.reshape(self.scale_size, -1)).clamp_min(SMALLEST_SCALE))
        if self.held is not None:  # HEQ, which holds nothing, comes here in every step
            self.start_holding(self._nearest(weight / self.per_weight(self.step, weight)))

    @abstractmethod
    def start_step(self, rows: Tensor) -> Tensor:
        """The grid's first step, (1,) or (O,), of kernels (1 or O, weights)."""

    def forward(self, weight: Tensor) -> Tensor:
        step = self.per_weight(self.current_scale(), weight)
        gain = 1 / math.sqrt(weight.numel() / self.scale_size * self.highest)
        with torch.no_grad():
            if not self.frozen:
                self.indices.copy_(self.kept(self._nearest(weight / step)))
            level = self.indices.to(weight.dtype) * self.spacing + self.lowest
        return ScaledLevels.apply(weight, step, level, self.lowest, self.highest, gain, self._fixed(), True)

    def _fixed(self) -> bool | Tensor:
        """All weights once frozen, else those that are held: such a weight is its level times the step."""
        if self.frozen or self.held is None:
            return bool(self.frozen)
        return self.held

    def _nearest(self, ratio: Tensor) -> Tensor:
        """Index of the nearest level of weights in grid steps."""
        offset = self.lowest % self.spacing
        level = torch.round((ratio - offset) / self.spacing) * self.spacing + offset
        return (level.clamp(self.lowest, self.highest) - self.lowest) / self.spacing

    def current_scale(self) -> Tensor:
        return self.step.abs().clamp_min(SMALLEST_SCALE)

    def levels(self) -> Tensor:
        stop = self.highest + 1
        return torch.arange(self.lowest, stop, self.spacing, dtype=self.step.dtype, device=self.step.device)


class LsqWeightQuantizer(UniformWeightQuantizer):
    """Learned step size (Esser et al. 2020, arXiv 1902.08153): Ŵ = s · round(clip(W/s, −Q_N, Q_P)).

    ∂Ŵ/∂s = round(W/s) − W/s inside, −Q_N or Q_P outside, times 1/√(N·Q_P).
    """

    def start_step(self, rows: Tensor) -> Tensor:
        """2·mean|W| / √Q_P, but never beyond max|W| / Q_P."""
        mean, largest = rows.abs().mean(dim=1), rows.abs().amax(dim=1)
        return torch.minimum(2 * mean / math.sqrt(self.highest), largest / self.highest)


class LsqPlusWeightQuantizer(UniformWeightQuantizer):
    """LSQ+ (Bhalgat et al. 2020, arXiv 2004.09576): for weights LSQ with a start that outliers do not move.

    s = max(|μ − 3σ|, |μ + 3σ|) / 2^(b−1). (A third-party code divides by 2^b − 1, which covers only half of ±3σ
    with signed levels.)
    """

    def start_step(self, rows: Tensor) -> Tensor:
        mean, deviation = rows.mean(dim=1), rows.std(dim=1, correction=0)
        return torch.maximum((mean - 3 * deviation).abs(), (mean + 3 * deviation).abs()) / 2 ** (self.bit_width - 1)


class SymmetricWeightQuantizer(UniformWeightQuantizer):
    """n equal intervals around zero; see the module's docstring for their levels on the grid."""

    def _set_levels(self) -> None:
        self.entries = min(2**self.bit_width, 2 * GRID_MAX + 1)
        self.spacing = 2 - self.entries % 2
        self.highest = (self.entries - 1) * self.spacing // 2
        self.lowest = -self.highest


class UniqWeightQuantizer(SymmetricWeightQuantizer):
    """UniQ (Pham, Abraham, Chung 2021, arXiv 2104.00210): Ŵ = Δ·round(clip((W + α)/Δ, 0, n−1)) − α, α = Δ(n−1)/2.

    Δ starts at the step that is optimal for a normal distribution of the kernel's deviation (so it clips outliers)
    and trains with LSQ's gradient.
    """

    def start_step(self, rows: Tensor) -> Tensor:
        return GAUSSIAN_STEP[self.bit_width] * rows.std(dim=1, correction=0) / self.spacing


class HeqWeightQuantizer(SymmetricWeightQuantizer):
    """HEQ (Nguyen, Guicquero, Sicard 2025, arXiv 2501.04517), a reconstruction: a step that uses every level equally often.

    Thresholds are s·(k − n/2), k = 1 … n−1; the n-quantiles q_k of the kernel are where they should be, and
    s = Σ q_k (k − n/2) / Σ (k − n/2)² is the least-squares fit, redone in every training forward until the indices are
    frozen. W gets its gradient straight through between the outer intervals' ends; s has none, then LSQ's once frozen.
    """

    can_hold = False  # every step moves all levels

    def start_step(self, rows: Tensor) -> Tensor:
        position = torch.arange(1, self.entries, dtype=rows.dtype, device=rows.device)
        quantiles = torch.quantile(rows, position / self.entries, dim=1)  # (n−1, 1 or O)
        centred = (position - self.entries / 2)[:, None]
        return (quantiles * centred).sum(dim=0) / centred.square().sum() / self.spacing

    def forward(self, weight: Tensor) -> Tensor:
        if self.training and not self.frozen:
            self.initialise(weight)
        if self.frozen:
            return super().forward(weight)
        step = self.per_weight(self.current_scale().detach(), weight)
        with torch.no_grad():
            self.indices.copy_(self._nearest(weight / step))
            value = (self.indices.to(weight.dtype) * self.spacing + self.lowest) * step
            end = self.entries * self.spacing / 2
            inside = ((weight / step).abs() <= end).to(weight.dtype)
        return _Masked.apply(weight, value, inside)


class _Masked(torch.autograd.Function):
    """The value forward; backward the gradient goes to the weight where `inside` is 1."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, weight: Tensor, value: Tensor, inside: Tensor) -> Tensor:
        ctx.save_for_backward(inside)
        return value

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None
