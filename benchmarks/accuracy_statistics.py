"""Means with 95 % intervals (Student's t over seeds), paired differences, and whether a goal is reached."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# 97.5 % quantile of Student's t by degrees of freedom; the normal's beyond
T_QUANTILE = [math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
NORMAL_QUANTILE = 1.96
NOTHING = "–"


def interval(values: Sequence[float], *, sign: bool = False) -> str:
    """`mean ± half interval`; the mean alone for one value, empty for none.

    >>> interval([1.0, 2.0, 3.0])
    '2.00 ± 2.48'
    """
    if not values:
        return ""
    mean, half = f"{statistics.fmean(values):{'+' if sign else ''}.2f}", half_interval(values)
    return mean if half is None else f"{mean} ± {half:.2f}"


def shown(values: Sequence[float], *, sign: bool = False) -> str:
    """`interval`, with a dash for none."""
    return interval(values, sign=sign) or NOTHING


def half_interval(values: Sequence[float]) -> float | None:
    """Half of the mean's 95 % interval; None for one value."""
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t."""
    return T_QUANTILE[freedom] if freedom < len(T_QUANTILE) else NORMAL_QUANTILE


def noise_of_one(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval around the difference of two single runs, from the spread of one net's seeds.

    >>> noise_of_one([1.0, 2.0, 3.0])  # 4.303 · 1 · √2
    6.085...
    """
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1) * statistics.stdev(values) * math.sqrt(2)


def paired(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> list[float]:
    """ours − theirs over the seeds that both have."""
    return [value - theirs[seed] for seed, value in ours.items() if seed in theirs]


@dataclass(frozen=True)
class Verdict:
    """Whether a mean keeps to a limit, and whether its interval leaves room for doubt."""

    reached: bool
    doubtful: bool

    def __str__(self) -> str:
        return ("reached" if self.reached else "**missed**") + (", within noise" if self.doubtful else "")


def at_most(values: Sequence[float], limit: float, noise: float | None = None) -> Verdict | None:
    """The mean must not exceed the limit; `noise` is the half interval where there is only one value. None without values."""
    if not values:
        return None
    mean, half = statistics.fmean(values), half_interval(values)
    half = (noise or 0.0) if half is None else half
    return Verdict(mean <= limit, mean - half <= limit < mean + half)


def lower_end_above(values: Sequence[float], limit: float) -> Verdict | None:
    """The interval's lower end must be above the limit; None with fewer than two values, which have no interval."""
    half = half_interval(values)
    return None if half is None else Verdict(statistics.fmean(values) - half > limit, False)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
