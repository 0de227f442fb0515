"""Codebooks that train: ClusterQAT (hard assignment) and DKM (soft assignment)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.codebook import GRID_MAX, cluster_weights, codebook_entries, entries_on_grid, lloyd
from train.config import WeightQuantizerConfig
from train.quantizer import SMALLEST_SCALE, WeightQuantizer

REFRESH_SHARE = 0.5  # of a Lloyd step that a refresh takes
DKM_ITERATIONS = 3
DKM_TOLERANCE = 1e-4


class ClusterQuantizer(WeightQuantizer):
    """ClusterQAT (a reconstruction): hard nearest assignment to 2^b trained entries on the int8 grid, zero among them.

    `centroids` is in grid units (weight / scale); its gradient is the mean over the cluster of ∂L/∂weight, in grid
    units, so that one learning rate serves layers of any scale.
    """

    can_hold = True

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__(shape, bit_width, config)
        self.centroids = nn.Parameter(torch.zeros(codebook_entries(bit_width, config.max_entries)))
        self.register_buffer("scale", torch.ones(self.scale_size))
        self.register_buffer("zero_index", torch.tensor(0))
        self.averages = config.codebook_gradient == "mean"

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        self._fit_scale(weight)
        centroids, zero_index = cluster_weights(self._units(weight), self.centroids.numel())
        self.centroids.copy_(torch.from_numpy(centroids))
        self.zero_index.fill_(zero_index)
        self.start_holding(self._nearest(weight, self.levels()))

    @torch.no_grad()
    def refresh(self, weight: Tensor) -> None:
        """Follow the kernel: new scale, then half a Lloyd step."""
        entries = self._rescaled_entries(weight)
        start = entries.double().cpu().numpy()
        stepped = lloyd(np.sort(self._units(weight).reshape(-1)), start, int(self.zero_index), iterations=1)
        self.centroids.copy_(entries.lerp(torch.from_numpy(stepped).to(entries), REFRESH_SHARE))

    def forward(self, weight: Tensor) -> Tensor:
        levels, scale = self.levels(), self.per_weight(self.scale, weight)
        self._assign(weight, levels)
        if self.held is not None and not self.frozen:  # what is held no longer learns
            weight = torch.where(self.held, weight.detach(), weight)
        return _LookUp.apply(weight, self.centroids, levels, self.indices, scale, bool(self.frozen), self.averages)

    def current_scale(self) -> Tensor:
        return self.scale

    def levels(self) -> Tensor:
        return entries_on_grid(self.centroids.detach(), int(self.zero_index))

    @torch.no_grad()
    def _assign(self, weight: Tensor, levels: Tensor) -> None:
        """Indices of the nearest entries, unless they are frozen or held."""
        if not self.frozen:
            self.indices.copy_(self.kept(self._nearest(weight, levels)))

    def _nearest(self, weight: Tensor, levels: Tensor) -> Tensor:
        units = (weight / self.per_weight(self.scale, weight)).contiguous()
        return torch.bucketize(units, (levels[1:] + levels[:-1]) / 2).to(self.indices.dtype)

    def _fit_scale(self, weight: Tensor) -> None:
        self.scale.copy_((self.max_magnitude(weight) / GRID_MAX).clamp_min(SMALLEST_SCALE))

    def _rescaled_entries(self, weight: Tensor) -> Tensor:
        """The scale follows the kernel; returns the entries as they were, in the new units."""
        previous = self.scale.mean()
        self._fit_scale(weight)
        return self.levels() * (previous / self.scale.mean())

    def _units(self, weight: Tensor) -> NDArray[np.float64]:
        units: NDArray[np.float64] = (weight / self.per_weight(self.scale, weight)).double().cpu().numpy()
        return units


class _LookUp(torch.autograd.Function):
    """levels[indices] · scale; straight through to the weight, mean (or sum) of each cluster to the centroids."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        centroids: Tensor,
        levels: Tensor,
        indices: Tensor,
        scale: Tensor,
        frozen: bool,
        averages: bool,
    ) -> Tensor:
        ctx.save_for_backward(indices, scale)
        ctx.entries, ctx.frozen, ctx.averages = centroids.numel(), frozen, averages
        return levels[indices.long()] * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        indices, scale = ctx.saved_tensors
        flat = indices.reshape(-1).long()
        total = torch.zeros(ctx.entries, dtype=gradient.dtype, device=gradient.device)
        total.index_add_(0, flat, (gradient / scale).reshape(-1))
        if ctx.averages:  # summed gradients of large clusters diverge at the same rate
            total /= torch.bincount(flat, minlength=ctx.entries).clamp_min(1)
        return None if ctx.frozen else gradient, total, None, None, None, None, None


class DkmQuantizer(ClusterQuantizer):
    """DKM (Cho et al. 2022, arXiv 2108.12659): k-means by attention, differentiated through its iterations.

    With u = W / max|W| and the entries c in the same units, up to three rounds of A = softmax(−(u − c)² / τ),
    c ← Aᵀu / ΣA from the last step's c; Ŵ = A·c. The zero entry stays at zero, the others on their side of it. Ŵ uses
    the entries rounded to the int8 grid (straight through). In evaluation and once frozen assignment is hard, as
    `ClusterQuantizer` does it, so what is exported is what is evaluated.
    """

    can_hold = False  # a soft assignment does not jump

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__(shape, bit_width, config)
        self.temperature = config.temperature

    @torch.no_grad()
    def refresh(self, weight: Tensor) -> None:
        """The scale follows the kernel; the entries follow it in every forward anyway."""
        self.centroids.copy_(self._rescaled_entries(weight))

    def forward(self, weight: Tensor) -> Tensor:
        if not self.training or self.frozen:
            return super().forward(weight)
        scale = GRID_MAX * self.per_weight(self.scale, weight)
        units = (weight / scale).reshape(-1, 1)
        attention, centroids = self._iterate(units, self.centroids.detach() / GRID_MAX)
        with torch.no_grad():
            self.centroids.copy_(centroids * GRID_MAX)
        levels = self.levels()
        self._assign(weight, levels)
        entries = centroids + (levels / GRID_MAX - centroids).detach()
        return (attention @ entries).reshape(weight.shape) * scale

    def _iterate(self, units: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
        """(attention (weights, K), centroids (K,)) of u (weights, 1)."""
        attention = self._attention(units, centroids)
        for _ in range(DKM_ITERATIONS):
            share = attention.sum(dim=0)
            mean = (attention * units).sum(dim=0) / share.clamp_min(1e-12)
            updated = self._pinned(torch.where(share > 1e-6, mean, centroids))
            moved = float((updated - centroids).detach().abs().max())
            centroids = updated
            attention = self._attention(units, centroids)
            if moved <= DKM_TOLERANCE:
                break
        return attention, centroids

    def _attention(self, units: Tensor, centroids: Tensor) -> Tensor:
        return torch.softmax((units - centroids).square() / -self.temperature, dim=1)

    def _pinned(self, centroids: Tensor) -> Tensor:
        """Zero at `zero_index`, nothing across it."""
        zero = int(self.zero_index)
        below, above = centroids[:zero].clamp_max(0), centroids[zero + 1 :].clamp_min(0)
        return torch.cat([below, torch.zeros_like(centroids[:1]), above])
