"""Codebooks: 1-D k-means of a layer's weights, and the int8 grid on which the entries must lie.

Weights come in grid units u = W / scale, so that they lie in [−127, 127]. A codebook is sorted, its entries differ,
and one of them (at `zero_index`) is zero.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GRID_MAX = 127
LLOYD_ITERATIONS = 100
TAIL_SHARE = 0.002  # of the weights on each side: few, but the identity branch's outliers sit there
Float64 = NDArray[np.float64]


def codebook_entries(bit_width: int, max_entries: int = 2 * GRID_MAX + 1) -> int:
    """2^bit_width, but no more than `max_entries` or than the grid has values (255)."""
    return int(min(2**bit_width, 2 * GRID_MAX + 1, max_entries))


def cluster_weights(units: Float64, entries: int) -> tuple[Float64, int]:
    """(centroids (K,) ascending with an exact zero, zero_index): the best of several starts of Lloyd's algorithm."""
    if entries == 2 * GRID_MAX + 1:  # the whole grid: nothing to cluster
        return np.arange(-GRID_MAX, GRID_MAX + 1, dtype=np.float64), GRID_MAX
    ordered = np.sort(units.reshape(-1).astype(np.float64))
    candidates = [_pinned_start(start) for start in _starts(ordered, entries)]
    results = [(lloyd(ordered, centroids, zero_index), zero_index) for centroids, zero_index in candidates]
    return min(results, key=lambda result: mean_squared_error(ordered, result[0]))


def _starts(ordered: Float64, entries: int) -> list[Float64]:
    """Quantiles, equal steps, and equal steps over the bulk with a few entries for each tail."""
    shares = (np.arange(entries) + 0.5) / entries
    linear = np.linspace(ordered[0], ordered[-1], entries)
    low, high = np.quantile(ordered, [TAIL_SHARE, 1 - TAIL_SHARE])
    tail = max(1, entries // 8)
    if entries < 2 * tail + 2:
        return [np.quantile(ordered, shares), linear]
    bulk = np.linspace(low, high, entries - 2 * tail)
    lower, upper = np.linspace(ordered[0], low, tail + 1)[:-1], np.linspace(high, ordered[-1], tail + 1)[1:]
    return [np.quantile(ordered, shares), linear, np.concatenate([lower, bulk, upper])]


def _pinned_start(centroids: Float64) -> tuple[Float64, int]:
    """The entry nearest to zero becomes zero; both sides keep at most 127 entries."""
    last = len(centroids) - 1
    zero_index = int(np.clip(np.abs(centroids).argmin(), max(0, last - GRID_MAX), min(last, GRID_MAX)))
    pinned = centroids.copy()
    pinned[:zero_index] = np.minimum(pinned[:zero_index], 0)
    pinned[zero_index + 1 :] = np.maximum(pinned[zero_index + 1 :], 0)
    pinned[zero_index] = 0.0
    return pinned, zero_index


def lloyd(ordered: Float64, centroids: Float64, zero_index: int, *, iterations: int = LLOYD_ITERATIONS) -> Float64:
    """Centroids after up to `iterations` rounds on ascending weights; the zero entry stays, empty clusters stay."""
    sums = np.concatenate([[0.0], ordered.cumsum()])
    for _ in range(iterations):
        edges = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        updated = np.where(counts > 0, means, centroids)
        updated[zero_index] = 0.0
        if np.array_equal(updated, centroids):
            break
        centroids = updated
    return centroids


def mean_squared_error(units: Float64, centroids: Float64) -> float:
    """Mean squared distance to the nearest centroid."""
    nearest = centroids[np.searchsorted((centroids[1:] + centroids[:-1]) / 2, units)]
    return float(np.square(units - nearest).mean())


def entries_on_grid(centroids: Tensor, zero_index: int) -> Tensor:
    """Whole numbers (K,), strictly ascending in [−127, 127], 0 at `zero_index`: the centroids rounded, then kept apart.

    >>> entries_on_grid(torch.tensor([-200.0, -0.2, 0.0, 5.2, 5.4]), 2).tolist()
    [-127.0, -1.0, 0.0, 5.0, 6.0]
    """
    rounded = torch.round(centroids)  # half to even; only training sees it
    above = _ascending_from_one(rounded[zero_index + 1 :])
    below = -_ascending_from_one(-rounded[:zero_index].flip(0)).flip(0)
    return torch.cat([below, torch.zeros_like(rounded[:1]), above])


def _ascending_from_one(values: Tensor) -> Tensor:
    """The nearest-from-above strictly ascending whole numbers in [1, 127]; `values` (n,), n <= 127."""
    if values.numel() == 0:
        return values
    rank = torch.arange(values.numel(), dtype=values.dtype, device=values.device)
    ascending = torch.cummax(values.clamp_min(1) - rank, dim=0).values + rank
    return torch.minimum(ascending, GRID_MAX - rank.flip(0))
