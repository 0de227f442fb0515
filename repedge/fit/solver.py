"""The exact choice: a multiple-choice knapsack, solved to its optimum.

Layers are added one by one. Of the partial choices so far only those are kept that no other beats in every cost and in
loss (dominance), that can still meet every limit, and whose Lagrangian bound is below the best known choice; none of the
three can drop the optimum. With one limit this is dynamic programming over the bytes that occur; without limits it gives
the whole Pareto front.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repedge.fit.table import Allocation, LayerOptions, Limits, Table, costs, within_arena

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

SUBGRADIENT_STEPS = 60
SLACK = 1e-9  # relative; sums of losses in another order may differ by rounding


@dataclass(frozen=True)
class _Partial:
    """Choices over the first layers: cost (n, d), loss (n,), and where each came from."""

    cost: Int64
    loss: Float64
    parent: NDArray[np.intp]
    option: NDArray[np.intp]


@dataclass(frozen=True)
class _Bound:
    """loss + multipliers · (cost − limits) over the layers still to come, never above what they really add."""

    multipliers: Float64
    remaining: Float64  # (layers + 1,)
    best: float  # loss of a known choice

    def keeps(self, cost: Int64, loss: Float64, limits: Int64, following: int) -> NDArray[np.bool_]:
        """(n,) whether a partial choice may still be better than the known one."""
        bound = loss + self.remaining[following] + (cost - limits) @ self.multipliers
        kept: NDArray[np.bool_] = bound <= self.best + SLACK * max(1.0, abs(self.best))
        return kept


def solve(table: Table, limits: Limits, *, minimise: str = "loss") -> Allocation | None:
    """The choice with the least loss (or other cost, by name) within all limits; None where there is none.

    Of equal ones the first in the order of costs; two runs give the same choice.
    """
    layers = within_arena(table, limits.arena_bytes)
    if any(not layer.options for layer in layers):
        return None
    names = _distinct(layers, limits)
    if not names:
        return tuple(min(layer.options, key=lambda option: getattr(option, minimise)) for layer in layers)
    allowed = np.array([getattr(limits, name) for name in names], np.int64)
    goals = [np.array([getattr(option, minimise) for option in layer.options], np.float64) for layer in layers]
    weights = [costs(layer, names) for layer in layers]
    stages = _stages(weights, goals, allowed, _lagrangian(weights, goals, allowed))
    if not len(stages[-1].loss):
        return None
    return _trace(layers, stages, int(np.lexsort((*stages[-1].cost.T[::-1], stages[-1].loss))[0]))


def pareto_front(table: Table) -> list[Allocation]:
    """Every choice that no other beats in both weight bytes and loss; the fewest bytes first."""
    layers = list(table)
    goals = [np.array([option.loss for option in layer.options], np.float64) for layer in layers]
    weights = [costs(layer, ("weight_bytes",)) for layer in layers]
    unlimited = np.array([sum(int(cost.max()) for cost in weights)], np.int64)
    stages = _stages(weights, goals, unlimited, None)
    return [_trace(layers, stages, end) for end in range(len(stages[-1].loss))]


def _distinct(layers: Sequence[LayerOptions], limits: Limits) -> list[str]:
    """The limited sums, of those that cost the same everywhere only the one with the tightest limit."""
    tightest: dict[bytes, str] = {}
    for name in limits.additive():
        column = b"".join(costs(layer, (name,)).tobytes() for layer in layers)
        known = tightest.get(column)
        if known is None or getattr(limits, name) < getattr(limits, known):
            tightest[column] = name
    return list(tightest.values())


def _stages(weights: list[Int64], goals: list[Float64], allowed: Int64, bound: _Bound | None) -> list[_Partial]:
    """One set of partial choices per layer; it ends early with an empty one where nothing fits."""
    least = [np.zeros(len(allowed), np.int64)]
    for cost in reversed(weights):
        least.append(least[-1] + cost.min(axis=0))
    empty = np.zeros(1, np.intp)
    stages = [_Partial(np.zeros((1, len(allowed)), np.int64), np.zeros(1), empty, empty)]
    for number, (cost, goal) in enumerate(zip(weights, goals, strict=True), start=1):
        found = _extended(stages[-1], cost, goal)
        kept = ((found.cost + least[len(weights) - number]) <= allowed).all(axis=1)
        if bound is not None:
            kept &= bound.keeps(found.cost, found.loss, allowed, number)
        stages.append(_undominated(_chosen(found, np.flatnonzero(kept))))
        if not kept.any():
            break
    return stages[1:]


def _extended(partial: _Partial, cost: Int64, goal: Float64) -> _Partial:
    """Every partial choice with every option of one more layer."""
    count, options = len(partial.loss), len(goal)
    return _Partial(
        (partial.cost[:, None, :] + cost[None]).reshape(count * options, cost.shape[1]),
        (partial.loss[:, None] + goal[None]).reshape(-1),
        np.repeat(np.arange(count), options),
        np.tile(np.arange(options), count),
    )


def _chosen(partial: _Partial, rows: NDArray[np.intp]) -> _Partial:
    return _Partial(partial.cost[rows], partial.loss[rows], partial.parent[rows], partial.option[rows])


def _undominated(partial: _Partial) -> _Partial:
    """Those that no other equals or beats in all costs and in loss; sorted by cost."""
    order = np.lexsort((partial.loss, *partial.cost.T[::-1]))
    ordered = _chosen(partial, order)
    dimensions = ordered.cost.shape[1]
    if dimensions == 1:
        before = np.minimum.accumulate(np.append(np.inf, ordered.loss[:-1]))
        return _chosen(ordered, np.flatnonzero(ordered.loss < before))
    return _chosen(ordered, _two(ordered) if dimensions == 2 else _many(ordered))


def _two(ordered: _Partial) -> NDArray[np.intp]:
    """Rows to keep of two costs: a staircase of (second cost, loss) of all with a smaller first cost."""
    seconds: list[int] = []  # ascending, with losses descending
    losses: list[float] = []
    kept = []
    pairs = zip(ordered.cost[:, 1].tolist(), ordered.loss.tolist(), strict=True)
    for row, (second, loss) in enumerate(pairs):
        place = bisect_right(seconds, second)
        if place and losses[place - 1] <= loss:
            continue
        stop = place
        while stop < len(seconds) and losses[stop] >= loss:
            stop += 1
        start = place - 1 if place and seconds[place - 1] == second else place
        seconds[start:stop], losses[start:stop] = [second], [loss]
        kept.append(row)
    return np.array(kept, np.intp)


def _many(ordered: _Partial) -> NDArray[np.intp]:
    """Rows to keep of any number of costs: each compared with all kept before it."""
    values = np.column_stack([ordered.cost, ordered.loss])
    kept: list[int] = []
    for row, value in enumerate(values):
        if not (values[kept] <= value).all(axis=1).any():
            kept.append(row)
    return np.array(kept, np.intp)


def _lagrangian(weights: list[Int64], goals: list[Float64], allowed: Int64) -> _Bound | None:
    """Multipliers by subgradient steps, and the best choice met on the way; None where none was met."""
    scale = np.maximum(allowed.astype(np.float64), 1.0)
    spread = sum(float(goal.max() - goal.min()) for goal in goals) or 1.0
    multipliers, best = np.zeros(len(allowed)), np.inf
    highest, chosen = -np.inf, multipliers
    for step in range(1, SUBGRADIENT_STEPS + 1):
        picks = [int((goal + cost @ multipliers).argmin()) for cost, goal in zip(weights, goals, strict=True)]
        used = np.sum([cost[pick] for cost, pick in zip(weights, picks, strict=True)], axis=0)
        loss = float(sum(goal[pick] for goal, pick in zip(goals, picks, strict=True)))
        if (used <= allowed).all():
            best = min(best, loss)
        dual = loss + float((used - allowed) @ multipliers)
        if dual > highest:
            highest, chosen = dual, multipliers
        excess = (used - allowed) / scale
        multipliers = np.maximum(0.0, multipliers + 2 * spread / step * excess / scale)
    if not np.isfinite(best):
        return None
    remaining = [0.0]
    for cost, goal in zip(reversed(weights), reversed(goals), strict=True):
        remaining.append(remaining[-1] + float((goal + cost @ chosen).min()))
    return _Bound(chosen, np.array(remaining[::-1]), best)


def _trace(layers: Sequence[LayerOptions], stages: list[_Partial], end: int) -> Allocation:
    """The options of one complete choice."""
    found = []
    for layer, stage in zip(reversed(layers), reversed(stages), strict=True):
        found.append(layer.options[int(stage.option[end])])
        end = int(stage.parent[end])
    return tuple(reversed(found))
