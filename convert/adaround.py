"""AdaRound (Nagel et al. 2020, arXiv 2004.10568), for any codebook: the level below or the level above, by its effect.

Ŵ = low + h(V)·(high − low) with the rectified sigmoid h(V) = clip(1.2·σ(V) − 0.1, 0, 1), started at the weight's own
place between its neighbours. The loss is the squared error of the layer's output after ReLU plus λ Σ (1 − |2h − 1|^β),
with β falling from 20 to 2 after a warm-up of a fifth, which drives every h to 0 or 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convert.lower import LayerPlan
from convert.reconstruction import Fit, FloatLayer, Problem, with_indices

LOW_END, HIGH_END = -0.1, 1.1
RATE = 0.02
REGULARISATION = 0.01  # λ per weight, relative to the start's error (the paper fixes it; scales differ by layer here)
WARM_UP = 0.2
FIRST_EXPONENT, LAST_EXPONENT = 20.0, 2.0


class RoundingFit(Fit):
    """One layer with a rounding choice per weight."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        plan, weight = problem.plan, problem.layer.weight
        codebook = torch.from_numpy(plan.codebook).float()
        self.scale = torch.from_numpy(plan.weight_scale).reshape(-1, *[1] * (weight.ndim - 1))
        units = (weight / self.scale).contiguous()
        self.low = (torch.bucketize(units, codebook) - 1).clamp(0, max(len(codebook) - 2, 0))
        self.high = (self.low + 1).clamp_max(len(codebook) - 1)
        self.bottom, self.gap = codebook[self.low], codebook[self.high] - codebook[self.low]
        share = ((units - self.bottom) / self.gap.clamp_min(1)).clamp(0, 1)
        place = ((share - LOW_END) / (HIGH_END - LOW_END)).clamp(1e-4, 1 - 1e-4)
        self.choice = nn.Parameter(torch.log(place / (1 - place)))
        self.bias = torch.from_numpy(plan.bias).float()
        with torch.no_grad():
            self.strength = REGULARISATION * float(self.error(torch.arange(min(len(problem.inputs), 64))))

    def shares(self) -> Tensor:
        """h(V)."""
        return (torch.sigmoid(self.choice) * (HIGH_END - LOW_END) + LOW_END).clamp(0, 1)

    def loss(self, batch: Tensor, progress: float) -> Tensor:
        shares = self.shares()
        error = self._squared(batch, shares)
        if progress < WARM_UP:
            return error
        along = (progress - WARM_UP) / (1 - WARM_UP)
        exponent = LAST_EXPONENT + (FIRST_EXPONENT - LAST_EXPONENT) * (1 - along)
        return error + self.strength * (1 - (2 * shares - 1).abs().pow(exponent)).sum()

    def error(self, batch: Tensor) -> Tensor:
        return self._squared(batch, (self.shares() >= 0.5).float())

    def plan(self) -> LayerPlan:
        with torch.no_grad():
            return with_indices(self.problem.plan, torch.where(self.shares() >= 0.5, self.high, self.low))

    def groups(self) -> list[dict[str, object]]:
        return [{"params": [self.choice], "lr": RATE}]

    def _squared(self, batch: Tensor, shares: Tensor) -> Tensor:
        weight = (self.bottom + shares * self.gap) * self.scale
        layer = FloatLayer(weight, self.bias, self.problem.plan.stride)
        return (layer(self.problem.inputs[batch]) - self.problem.wanted[batch]).square().mean()
