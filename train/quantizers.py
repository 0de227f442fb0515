"""Quantizers that train: ClusterQAT and LSQ for weights, LSQ for activations.

A weight quantizer turns a merged kernel into `codebook[indices] · scale`, bit for bit in float32 what it exports.
Gradients pass straight through to the kernel; the codebook gets the mean gradient of each cluster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.codebook import GRID_MAX, cluster_weights, codebook_entries, entries_on_grid, lloyd
from train.config import WeightQuantizerConfig

SMALLEST_SCALE = 1e-8  # an all-zero kernel still has a scale > 0
REFRESH_SHARE = 0.5  # of a Lloyd step that a refresh takes


@dataclass(frozen=True)
class ExportedWeights:
    """int8 codebook (K,), uint8 indices OIHW or OI, float32 scale (1,) or (O,): weight = codebook[indices] · scale."""

    codebook: NDArray[np.int8]
    indices: NDArray[np.uint8]
    scale: NDArray[np.float32]


class WeightQuantizer(nn.Module):
    """What both weight quantizers share: the indices of the last forward, and whether they are frozen."""

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__()
        self.bit_width = bit_width
        self.scale_size = shape[0] if config.per_channel_scale else 1
        self.register_buffer("indices", torch.zeros(shape, dtype=torch.uint8))
        self.register_buffer("frozen", torch.tensor(False))

    def initialise(self, weight: Tensor) -> None:
        """Set scale and codebook from a trained kernel."""
        raise NotImplementedError

    def refresh(self, weight: Tensor) -> None:
        """Once per epoch while the codebook may still follow the kernel; nothing for a uniform quantizer."""

    def freeze(self) -> None:
        """From now on forward keeps the indices it last used."""
        self.frozen.fill_(True)

    def current_scale(self) -> Tensor:
        """(1,) or (O,), > 0."""
        raise NotImplementedError

    def levels(self) -> Tensor:
        """The codebook as whole numbers (K,) in the weights' float type."""
        raise NotImplementedError

    @torch.no_grad()
    def export(self) -> ExportedWeights:
        """The weights of the last forward."""
        return ExportedWeights(
            codebook=self.levels().cpu().numpy().astype(np.int8),
            indices=self.indices.cpu().numpy().copy(),
            scale=self.current_scale().detach().cpu().numpy().astype(np.float32),
        )

    def _per_weight(self, scale: Tensor, weight: Tensor) -> Tensor:
        return scale.reshape(-1, *[1] * (weight.ndim - 1))  # (1,) or (O,) -> broadcasts over the kernel

    def _max_scale(self, weight: Tensor) -> Tensor:
        """max|W| per tensor or per output channel, (1,) or (O,)."""
        return weight.detach().reshape(self.scale_size, -1).abs().amax(dim=1)


class ClusterQuantizer(WeightQuantizer):
    """ClusterQAT (a reconstruction): hard nearest assignment to 2^b trained entries on the int8 grid, zero among them.

    `centroids` is in grid units (weight / scale); its gradient is the mean over the cluster of ∂L/∂weight, in grid
    units, so that one learning rate serves layers of any scale.
    """

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__(shape, bit_width, config)
        self.centroids = nn.Parameter(torch.zeros(codebook_entries(bit_width)))
        self.register_buffer("scale", torch.ones(self.scale_size))
        self.register_buffer("zero_index", torch.tensor(0))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        self.scale.copy_((self._max_scale(weight) / GRID_MAX).clamp_min(SMALLEST_SCALE))
        centroids, zero_index = cluster_weights(self._units(weight), self.centroids.numel())
        self.centroids.copy_(torch.from_numpy(centroids))
        self.zero_index.fill_(zero_index)

    @torch.no_grad()
    def refresh(self, weight: Tensor) -> None:
        """Follow the kernel: new scale, then half a Lloyd step."""
        previous = self.scale.mean()
        self.scale.copy_((self._max_scale(weight) / GRID_MAX).clamp_min(SMALLEST_SCALE))
        entries = self.levels() * (previous / self.scale.mean())
        start = entries.double().cpu().numpy()
        stepped = lloyd(np.sort(self._units(weight).reshape(-1)), start, int(self.zero_index), iterations=1)
        self.centroids.copy_(entries.lerp(torch.from_numpy(stepped).to(entries), REFRESH_SHARE))

    def forward(self, weight: Tensor) -> Tensor:
        levels, scale = self.levels(), self._per_weight(self.scale, weight)
        if not self.frozen:
            middle = (levels[1:] + levels[:-1]) / 2
            self.indices.copy_(torch.bucketize((weight.detach() / scale).contiguous(), middle))
        return _LookUp.apply(weight, self.centroids, levels, self.indices, scale, bool(self.frozen))

    def current_scale(self) -> Tensor:
        return self.scale

    def levels(self) -> Tensor:
        return entries_on_grid(self.centroids.detach(), int(self.zero_index))

    def _units(self, weight: Tensor) -> NDArray[np.float64]:
        units: NDArray[np.float64] = (weight / self._per_weight(self.scale, weight)).double().cpu().numpy()
        return units


class _LookUp(torch.autograd.Function):
    """levels[indices] · scale; straight through to the weight, mean of each cluster to the centroids."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, centroids: Tensor, levels: Tensor, indices: Tensor, scale: Tensor, frozen: bool
    ) -> Tensor:
        ctx.save_for_backward(indices, scale)
        ctx.entries, ctx.frozen = centroids.numel(), frozen
        return levels[indices.long()] * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        indices, scale = ctx.saved_tensors
        flat = indices.reshape(-1).long()
        total = torch.zeros(ctx.entries, dtype=gradient.dtype, device=gradient.device)
        total.index_add_(0, flat, (gradient / scale).reshape(-1))
        # the mean, not the sum: summed gradients of large clusters diverge
        mean = total / torch.bincount(flat, minlength=ctx.entries).clamp_min(1)
        return None if ctx.frozen else gradient, mean, None, None, None, None


class LsqWeightQuantizer(WeightQuantizer):
    """Learned step size: levels −2^(b−1) … 2^(b−1)−1 (8 bits: −127 … 127) times a trained step."""

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__(shape, bit_width, config)
        self.lowest, self.highest = max(-(2 ** (bit_width - 1)), -GRID_MAX), 2 ** (bit_width - 1) - 1
        self.step = nn.Parameter(torch.ones(self.scale_size))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        """LSQ's start 2·mean|W| / sqrt(highest level), but never beyond max|W| / highest level."""
        mean = weight.reshape(self.scale_size, -1).abs().mean(dim=1)
        largest = self._max_scale(weight) / self.highest
        self.step.copy_(torch.minimum(2 * mean / math.sqrt(self.highest), largest).clamp_min(SMALLEST_SCALE))

    def forward(self, weight: Tensor) -> Tensor:
        step = self._per_weight(self.current_scale(), weight)
        gain = 1 / math.sqrt(weight.numel() / self.scale_size * self.highest)
        with torch.no_grad():
            if not self.frozen:
                level = torch.round(weight / step).clamp(self.lowest, self.highest)
                self.indices.copy_(level - self.lowest)
            level = self.indices.to(weight.dtype) + self.lowest
        return _ScaledLevels.apply(weight, step, level, self.lowest, self.highest, gain, bool(self.frozen))

    def current_scale(self) -> Tensor:
        return self.step.abs().clamp_min(SMALLEST_SCALE)

    def levels(self) -> Tensor:
        return torch.arange(self.lowest, self.highest + 1, dtype=self.step.dtype, device=self.step.device)


class LsqActivationQuantizer(nn.Module):
    """Unsigned LSQ per tensor: levels 0 … 2^b − 1 times `scale` (a scalar parameter); negative values become 0."""

    def __init__(self, bit_width: int) -> None:
        super().__init__()
        self.bit_width = bit_width
        self.highest = 2**bit_width - 1
        self.scale = nn.Parameter(torch.tensor(1.0))

    @torch.no_grad()
    def initialise(self, activations: Tensor) -> None:
        """The scale with the least squared error on these activations, out of 40 clipping points."""
        sample = activations.reshape(-1)
        largest = sample.max().clamp_min(1e-6)
        scales = [largest * share / self.highest for share in torch.linspace(0.05, 1.0, 40).tolist()]
        errors = [float((self._round(sample, scale) * scale - sample).square().mean()) for scale in scales]
        self.scale.copy_(scales[int(np.argmin(errors))])

    def current_scale(self) -> Tensor:
        """The scale as forward uses it, > 0."""
        return self.scale.abs().clamp_min(SMALLEST_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.current_scale()
        gain = 1 / math.sqrt(x[0].numel() * self.highest)
        level = self._round(x.detach(), scale.detach())
        return _ScaledLevels.apply(x, scale, level, 0, self.highest, gain, False)

    def _round(self, x: Tensor, scale: Tensor) -> Tensor:
        return torch.floor(x / scale + 0.5).clamp(0, self.highest)  # half up = half away from zero, as x > 0 matters


class _ScaledLevels(torch.autograd.Function):
    """level · step, with LSQ's gradients: straight through inside the range, the step's scaled by `gain`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, level: Tensor, lowest: int, highest: int, gain: float, frozen: bool
    ) -> Tensor:
        ctx.save_for_backward(x, step, level)
        ctx.lowest, ctx.highest, ctx.gain, ctx.frozen = lowest, highest, gain, frozen
        return level * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step, level = ctx.saved_tensors
        if ctx.frozen:
            return None, _sum_to(gradient * level, step) * ctx.gain, None, None, None, None, None
        ratio = x / step
        inside = gradient * ((ratio >= ctx.lowest) & (ratio <= ctx.highest))
        # d(level · step) / d step = level − x / step inside the range, level outside
        slope = torch.addcmul(gradient * level, inside, ratio, value=-1)
        return inside, _sum_to(slope, step) * ctx.gain, None, None, None, None, None


def _sum_to(gradient: Tensor, step: Tensor) -> Tensor:
    """Sum over everything that `step` was broadcast along."""
    if step.numel() == 1:
        return gradient.sum().reshape(step.shape)
    return gradient.reshape(step.shape[0], -1).sum(dim=1).reshape(step.shape)


def make_weight_quantizer(shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> WeightQuantizer:
    """The weight quantizer that the recipe's `quantize.weights` section names."""
    kinds = {"cluster": ClusterQuantizer, "lsq": LsqWeightQuantizer}
    return kinds[config.method](shape, bit_width, config)
