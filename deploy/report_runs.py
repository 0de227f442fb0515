"""Runs side by side: accuracy against what it costs, and which runs no other one beats in both (the Pareto front).

Only runs that were tested on the same data can be compared. The report's own run is among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from deploy import report_format as fmt
from train.errors import ConfigError

# a figure that a run does not have leaves it out of that chart
COSTS = {"weight_bytes": "weights", "flash_bytes": "flash", "ram_bytes": "RAM", "instructions": "instructions"}


def run_entry(report: Mapping[str, Any], folder: str, target: str | None) -> dict[str, Any]:
    """One run's figures; those of a target are None where the run did not build for `target`."""
    accuracy, figures = report["accuracy"]["numpy"], report["targets"].get(target) or {}
    return {
        "name": report["name"],
        "folder": folder,
        "top1": accuracy["top1"],
        "wilson_low": accuracy["wilson_low"],
        "wilson_high": accuracy["wilson_high"],
        "images": accuracy["images"],
        "weight_bytes": report["model"]["weight_bytes"],
        "flash_bytes": (figures.get("flash_bytes") or {}).get("total"),
        "ram_bytes": (figures.get("ram_bytes") or {}).get("total"),
        "instructions": figures.get("instructions"),
    }


def compare_runs(
    report: Mapping[str, Any], others: Sequence[tuple[str, Mapping[str, Any]]], target: str | None
) -> dict[str, Any]:
    """report.json's `runs`: this run first, then the others as (folder, report), of the same test data, by folder."""
    for folder, other in others:
        if not same_data(report, other):
            raise ConfigError(
                f"{folder}: tested on {_data(other)}, this run on {_data(report)}; "
                "only runs of the same test images can be compared; leave it out"
            )
    entries = [run_entry(other, folder, target) for folder, other in sorted(others, key=lambda pair: pair[0])]
    return {"target": target, "runs": [run_entry(report, "", target), *entries]}


def same_data(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two reports were made from the same data set."""
    return bool(a["dataset"]["sha256"] == b["dataset"]["sha256"])


def _data(report: Mapping[str, Any]) -> str:
    return f"{report['dataset']['name']}, {report['dataset']['split_sizes'].get('test', 0):,} test images"


def pareto_front(runs: Sequence[Mapping[str, Any]], cost: str) -> list[int]:
    """Numbers of the runs that no other beats (no cheaper one is as accurate, no more accurate one as cheap), by cost.

    >>> pareto_front([{"c": 3, "top1": 90}, {"c": 1, "top1": 80}, {"c": 2, "top1": 79}], "c")
    [1, 0]
    """
    known = [number for number, run in enumerate(runs) if run[cost] is not None]
    front: list[int] = []
    for number in sorted(known, key=lambda number: (runs[number][cost], -runs[number]["top1"], number)):
        if not front or runs[number]["top1"] > runs[front[-1]]["top1"]:
            front.append(number)
    return front


def runs_view(section: Mapping[str, Any]) -> dict[str, Any]:
    """Charts of the costs that at least two runs have, and a row per run with the charts on whose front it lies."""
    runs = section["runs"]
    costs = [cost for cost in COSTS if sum(run[cost] is not None for run in runs) > 1]
    fronts = {cost: pareto_front(runs, cost) for cost in costs}
    charts = [
        _chart(runs, cost, fronts[cost], section["target"])
        for cost in ("weight_bytes", "instructions")
        if cost in costs
    ]
    rows = [
        {**run, "number": number + 1, "best": [COSTS[cost] for cost in costs if number in fronts[cost]]}
        for number, run in enumerate(runs)
    ]
    return {"rows": rows, "charts": charts, "target": section["target"], "costs": costs}


def _chart(runs: Sequence[Mapping[str, Any]], cost: str, front: Sequence[int], target: str | None) -> dict[str, Any]:
    """Positions in percent of a plot: cost to the right (log scale over more than a decade), accuracy upwards."""
    known = [(number, run) for number, run in enumerate(runs) if run[cost] is not None]
    values = [run[cost] for _, run in known]
    across = _axis(min(values), max(values))
    low, high = min(run["wilson_low"] for _, run in known), max(run["wilson_high"] for _, run in known)
    up = _axis(low, high, padding=0.04)
    points = {
        number: {
            "number": number + 1, "name": run["name"], "x": across(run[cost]), "y": 100 - up(run["top1"]),
            "low": 100 - up(run["wilson_low"]), "high": 100 - up(run["wilson_high"]), "on_front": number in front,
            "is_this": number == 0, "cost": fmt.count(run[cost]), "top1": fmt.percent(run["top1"]),
        }
        for number, run in known
    }  # fmt: skip
    return {
        "title": "bytes of packed weights" if cost == "weight_bytes" else f"{COSTS[cost]} on {target}",
        "points": list(points.values()),
        "steps": _steps([points[number] for number in front]),
        "x_ticks": [{"at": across(value), "text": _short(value)} for value in _ticks(min(values), max(values))],
        "y_ticks": [{"at": 100 - up(value), "text": f"{value:g}"} for value in _ticks(low, high)],
    }  # fmt: skip


def _steps(front: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The front as a staircase: to the right at the accuracy reached, then up."""
    lines = []
    for before, after in pairwise(front):
        lines.append({"x1": before["x"], "y1": before["y"], "x2": after["x"], "y2": before["y"]})
        lines.append({"x1": after["x"], "y1": before["y"], "x2": after["x"], "y2": after["y"]})
    return lines


def _axis(low: float, high: float, padding: float = 0.08) -> Any:
    """The function from a value to percent of the axis; logarithmic where the values span more than a decade."""
    logarithmic = low > 0 and high / low > 10

    def scaled(value: float) -> float:
        return math.log(value) if logarithmic else value

    start, stop = scaled(low), scaled(high)
    room = (stop - start) * padding or abs(stop) * 0.01 or 1.0
    return lambda value: 100 * (scaled(value) - start + room) / (stop - start + 2 * room)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values inside the range, or both ends of a range without any."""
    if low > 0 and high / low > 10:
        decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
        return decades if len(decades) > 1 else [low, high]
    span = high - low or abs(high) * 0.1 or 1.0
    step = next(s for s in (m * 10.0**p for p in range(-6, 12) for m in (1, 2, 5)) if span / s <= 5)
    inside = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return inside if inside else [low]


def _short(value: float) -> str:
    """A tick's label: 25 k, 1.5 M."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:g}"
