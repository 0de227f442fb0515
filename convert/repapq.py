"""RepAPQ (Zhang et al. 2024, arXiv 2402.16121), a reconstruction: its equations were not at hand, its abstract and parts of its code were.

Per layer y = Q_a(ReLU(γ ⊙ conv(x̂, Q_w(W')) + β)), with W', γ > 0, β and the activation step trained (rounding straight
through) on

    L = mean |y_float − y| + λ · mean |Y_float − F_rest(y)|

where F_rest are the float layers that follow in the stage and Y_float is the stage's float output (across-block calibration).
γ and β train fast, the kernel slowly. Folded afterwards: weight scale s_c ← γ_c · s, bias ← β; indices and codebook stay what
the last W' gave. The classifier has no affine: its scale stays per tensor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from convert.lower import LayerPlan
from convert.reconstruction import Fit, FloatLayer, Problem, with_indices

STAGE_WEIGHT = 0.5  # λ
AFFINE_RATE = 0.01  # of log γ, of β in activation steps, of the log of the activation step
WEIGHT_RATE = 0.005  # in mean distances between levels


class AffineFit(Fit):
    """One layer with its affine."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        plan, self.is_conv = problem.plan, problem.layer.weight.ndim == 4
        self.codebook = torch.from_numpy(plan.codebook).float()
        shape = (-1, *[1] * (problem.layer.weight.ndim - 1))
        self.scale = torch.from_numpy(plan.weight_scale).reshape(shape)
        self.units = nn.Parameter(problem.layer.weight / self.scale)  # W' in grid units
        self.gain = nn.Parameter(torch.zeros(len(problem.layer.weight)))  # log γ
        self.offset = nn.Parameter(torch.from_numpy(plan.bias).float() / plan.output_scale)  # β
        self.widening = nn.Parameter(torch.zeros(()))  # log of the activation step over its start

    def loss(self, batch: Tensor, progress: float) -> Tensor:
        return self.error(batch)

    def error(self, batch: Tensor) -> Tensor:
        problem = self.problem
        output = self(problem.inputs[batch])
        total = (output - problem.wanted[batch]).abs().mean()
        if not problem.rest:
            return total
        for layer in problem.rest:
            output = layer(output)
        return total + STAGE_WEIGHT * (output - problem.stage_wanted[batch]).abs().mean()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, quantized but for the classifier's."""
        units = self.codebook[self.indices()]
        weight = (self.units + (units - self.units).detach()) * self.scale
        if not self.is_conv:
            return FloatLayer(weight, self.offset * self.problem.plan.output_scale)(x)
        gain = self.gain.exp().reshape(-1, 1, 1, 1)
        output = FloatLayer(weight * gain, self.offset * self.problem.plan.output_scale, self.problem.plan.stride)(x)
        step = self.problem.plan.output_scale * self.widening.exp()
        ratio = (output / step).clamp(0, 2**self.problem.plan.activation_bits - 1)
        return (ratio + (torch.floor(ratio + 0.5) - ratio).detach()) * step

    @torch.no_grad()
    def indices(self) -> Tensor:
        """The nearest entry of every weight."""
        return torch.bucketize(self.units.contiguous(), (self.codebook[1:] + self.codebook[:-1]) / 2)

    def plan(self) -> LayerPlan:
        plan, before = self.problem.plan, self.problem.plan.output_scale
        fitted = with_indices(plan, self.indices())
        bias = self.offset.detach().double().numpy() * before
        if not self.is_conv:
            return replace(fitted, bias=bias)
        scale = (self.scale.reshape(-1) * self.gain.detach().exp()).numpy().astype(np.float32)
        return replace(fitted, weight_scale=scale, bias=bias, output_scale=before * float(self.widening.detach().exp()))

    def groups(self) -> list[dict[str, object]]:
        distance = float((self.codebook[-1] - self.codebook[0]) / max(len(self.codebook) - 1, 1))
        fast = [self.gain, self.offset, self.widening] if self.is_conv else [self.offset]
        return [{"params": [self.units], "lr": WEIGHT_RATE * distance}, {"params": fast, "lr": AFFINE_RATE}]
