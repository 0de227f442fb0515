"""Post-training quantization that looks at outputs: layer by layer, the quantized layer is fitted to the float layer's output.

Both methods start from the levels and ranges that `quantize.post_training` chose, see at most 1,024 images without labels, take
their input from the layers quantized before (so they also correct what those did), and leave what an integer model can hold:

- `adaround` (`convert.adaround`): each weight goes to the level below or above it, whichever serves the output.
- `repapq` (`convert.repapq`): a channel-wise affine after the convolution, kernel, bias and activation step are trained, the
  error is absolute, and the rest of the stage is part of it.

A fit that does not lower its own loss on all calibration images is dropped: the layer stays as it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from convert.float_network import FloatConv, FloatNetwork
from convert.lower import LayerPlan
from train.config import PostTrainingConfig

BATCH = 32
LARGEST_IMAGES = 1024


@dataclass(frozen=True)
class FloatLayer:
    """A float convolution with ReLU, or (4-dimensional weight or not) the classifier."""

    weight: Tensor
    bias: Tensor
    stride: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 2:
            return F.linear(x, self.weight, self.bias)
        return F.relu(F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=1))


@dataclass(frozen=True)
class Problem:
    """One layer: its plan so far, its float form, the float layers that follow it in its stage, and what it sees and should give."""

    plan: LayerPlan
    layer: FloatLayer
    rest: tuple[FloatLayer, ...]
    inputs: Tensor
    wanted: Tensor
    stage_wanted: Tensor


class Fit(nn.Module, ABC):
    """A layer whose quantization trains. `progress` runs from 0 to 1."""

    @abstractmethod
    def loss(self, batch: Tensor, progress: float) -> Tensor:
        """What training minimises, on the problem's images of these positions."""

    @abstractmethod
    def error(self, batch: Tensor) -> Tensor:
        """The error with the levels that would be exported, on these images."""

    @abstractmethod
    def plan(self) -> LayerPlan:
        """The layer as trained."""

    @abstractmethod
    def groups(self) -> list[dict[str, object]]:
        """Parameters and learning rates for Adam."""


@dataclass(frozen=True)
class Reconstruction:
    """The new plans, and per layer the error before and after its fit."""

    convs: tuple[LayerPlan, ...]
    classifier: LayerPlan
    errors: dict[str, tuple[float, float]]


def reconstruct(
    merged: FloatNetwork,
    convs: Sequence[LayerPlan],
    classifier: LayerPlan,
    images: NDArray[np.uint8],
    config: PostTrainingConfig,
) -> Reconstruction:
    """Fit every layer in order; deterministic for one machine and thread count."""
    fit = _fits()[config.reconstruction]
    floats = [_float_layer(conv) for conv in merged.convs]
    chosen = images[np.linspace(0, len(images) - 1, min(len(images), LARGEST_IMAGES)).astype(int)]
    exact = quantized = torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 255
    fitted, errors = [], {}
    for number, plan in enumerate(convs):
        rest = tuple(floats[number + 1 : _stage_end(merged.convs, number)])
        exact = _batched(floats[number], exact)
        stage = exact if not rest else _batched(lambda x, rest=rest: _chain(rest, x), exact)
        problem = Problem(plan, floats[number], rest, quantized, exact, stage)
        found, errors[plan.name] = solve(fit, problem, config.iterations)
        fitted.append(found)
        quantized = _batched(lambda x, found=found: run_plan(found, x), quantized)
    weight, bias = (torch.from_numpy(a).float() for a in (merged.classifier_weight, merged.classifier_bias))
    last, pooled = FloatLayer(weight, bias), quantized.mean(dim=(2, 3))
    wanted = last(exact.mean(dim=(2, 3)))
    found, errors[classifier.name] = solve(
        fit, Problem(classifier, last, (), pooled, wanted, wanted), config.iterations
    )
    return Reconstruction(tuple(fitted), found, errors)


def solve(fit: Callable[[Problem], Fit], problem: Problem, iterations: int) -> tuple[LayerPlan, tuple[float, float]]:
    """(plan, (error before, error after)) of one layer."""
    module = fit(problem)
    before = total_error(module, problem)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(module.groups())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for step in range(iterations):
        batch = torch.randint(len(problem.inputs), (BATCH,), generator=generator)
        optimizer.zero_grad()
        module.loss(batch, step / iterations).backward()
        optimizer.step()
        schedule.step()
    after = total_error(module, problem)
    return (module.plan(), (before, after)) if after < before else (problem.plan, (before, before))


@torch.no_grad()
def total_error(module: Fit, problem: Problem) -> float:
    """Mean error over all calibration images."""
    batches = torch.arange(len(problem.inputs)).split(BATCH)
    total = sum(float(module.error(batch)) * len(batch) for batch in batches)
    return total / len(problem.inputs)


def plan_weight(plan: LayerPlan) -> Tensor:
    """codebook[indices] · scale, OIHW or OI."""
    values = plan.codebook.astype(np.float32)[plan.indices]
    weight = values * plan.weight_scale.reshape(-1, *[1] * (values.ndim - 1))
    return torch.from_numpy(weight.transpose(0, 3, 1, 2).copy() if weight.ndim == 4 else weight)


def run_plan(plan: LayerPlan, x: Tensor) -> Tensor:
    """The quantized layer's output on its activation levels."""
    layer = FloatLayer(plan_weight(plan), torch.from_numpy(plan.bias).float(), plan.stride)
    levels = torch.floor(layer(x) / plan.output_scale + 0.5).clamp(0, 2**plan.activation_bits - 1)
    return levels * plan.output_scale


def with_indices(plan: LayerPlan, indices: Tensor) -> LayerPlan:
    """The plan with other indices, OIHW or OI."""
    array = indices.numpy().astype(np.uint8)
    return replace(plan, indices=np.ascontiguousarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array))


def _fits() -> dict[str, Callable[[Problem], Fit]]:
    from convert.adaround import RoundingFit  # these modules build on this one
    from convert.repapq import AffineFit

    return {"adaround": RoundingFit, "repapq": AffineFit}


def _float_layer(conv: FloatConv) -> FloatLayer:
    return FloatLayer(torch.from_numpy(conv.weight_oihw).float(), torch.from_numpy(conv.bias).float(), conv.stride)


def _stage_end(convs: Sequence[FloatConv], number: int) -> int:
    """One past the last convolution of this one's stage (`stage2.0` and `stage2.1` share theirs)."""
    stage, end = convs[number].name.partition(".")[0], number + 1
    while end < len(convs) and convs[end].name.partition(".")[0] == stage:
        end += 1
    return end


def _chain(layers: Sequence[FloatLayer], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


@torch.no_grad()
def _batched(work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([work(batch) for batch in x.split(BATCH)])
