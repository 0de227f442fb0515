"""Optimal codebooks for a net that never had one: exact 1-D k-means whose entries lie on the int8 grid and hold zero.

Plain 1-D k-means finds real centroids that deployment then has to round. Here the grid −127..127 itself is the set of
candidates, so the optimum is found under the constraint that the targets impose: a dynamic programme over candidates
in order, each weight going to its nearest chosen entry. Cost: 255² interval costs, then 2^b · 255² additions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = np.arange(-127, 128)
ZERO = 127  # position of 0 in GRID

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Prefix:
    """Sorted values with prefix sums: sums of any interval in O(1)."""

    values: Float64
    first: Float64  # prefix sums of v
    second: Float64  # prefix sums of v²

    @classmethod
    def of(cls, values: Float64) -> Prefix:
        """Sort and sum."""
        ordered = np.sort(values, axis=None)
        return cls(ordered, np.append(0.0, ordered.cumsum()), np.append(0.0, (ordered**2).cumsum()))

    def cost(self, low: NDArray[np.intp], high: NDArray[np.intp], centre: Float64) -> Float64:
        """Σ (v − centre)² over values[low:high]."""
        count = high - low
        linear = self.first[high] - self.first[low]
        square = self.second[high] - self.second[low]
        return np.maximum(square - 2 * centre * linear + count * centre**2, 0.0)


def between_costs(prefix: Prefix) -> Float64:
    """(255, 255) cost of the values between candidates a < b when nothing between them is chosen; inf elsewhere."""
    lower, upper = np.meshgrid(GRID.astype(np.float64), GRID.astype(np.float64), indexing="ij")
    start = np.searchsorted(prefix.values, lower)
    middle = np.searchsorted(prefix.values, (lower + upper) / 2)
    stop = np.searchsorted(prefix.values, upper)
    cost = prefix.cost(start, middle, lower) + prefix.cost(middle, stop, upper)
    return np.where(lower < upper, cost, np.inf)


def _sweep(entry: Float64, step: Float64, entries: int) -> tuple[Float64, NDArray[np.intp]]:
    """table[k, j]: least cost of all values up to candidate j with k+1 entries, the last at j; and each entry's parent."""
    table = np.full((entries, GRID.size), np.inf)
    parent = np.zeros((entries, GRID.size), np.intp)
    table[0] = entry
    for k in range(1, entries):
        through = table[k - 1][:, None] + step
        parent[k] = through.argmin(axis=0)
        table[k] = through.min(axis=0)
    return table, parent


def _path(parent: NDArray[np.intp], count: int) -> list[int]:
    """Positions of `count` entries that end at zero, zero included."""
    position, found = ZERO, [ZERO]
    for k in range(count - 1, 0, -1):
        position = int(parent[k, position])
        found.append(position)
    return found


def optimal_codebook(values: Float64, entries: int) -> NDArray[np.int8]:
    """The `entries` (at most) int8 values, 0 among them, with the least squared error to `values` in grid units.

    Values outside ±127 count towards the outermost entry. Sorted ascending; fewer entries where more would not help.

    >>> optimal_codebook(np.array([-3.1, -2.9, 0.2, 7.0, 7.2]), 3).tolist()
    [-3, 0, 7]
    """
    prefix = Prefix.of(values.astype(np.float64))
    step = between_costs(prefix)
    grid = GRID.astype(np.float64)
    size = np.full(GRID.size, prefix.values.size)
    below = prefix.cost(np.zeros(GRID.size, np.intp), np.searchsorted(prefix.values, grid), grid)
    above = prefix.cost(np.searchsorted(prefix.values, grid), size, grid)
    entries = min(entries, GRID.size)
    left, left_parent = _sweep(below, step, entries)
    right, right_parent = _sweep(above[::-1], step.T[::-1, ::-1], entries)  # the mirror image; zero stays in the middle
    totals = left[:, ZERO] + right[::-1, ZERO]  # k+1 entries up to zero and entries−k from it on, zero counted twice
    best = int(totals.argmin())
    chosen = _path(left_parent, best + 1) + [GRID.size - 1 - j for j in _path(right_parent, entries - best)]
    return np.unique(GRID[chosen]).astype(np.int8)


def nearest_indices(values: Float64, codebook: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Index of the nearest entry of a sorted codebook, same shape as `values`; ties go to the upper entry."""
    edges = (codebook[1:].astype(np.float64) + codebook[:-1]) / 2
    return np.searchsorted(edges, values, side="right").astype(np.uint8)
