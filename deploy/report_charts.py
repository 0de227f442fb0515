"""Geometry of the report's charts: positions in percent and SVG paths, computed here, drawn by the page's template.

Row charts use percent so that they fit a phone without shrinking their text; histograms use a box of WIDTH × HEIGHT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploy import report_format as fmt
from deploy.report_samples import PAIRS, frequent_confusions

WIDTH, HEIGHT = 240, 112
ROOM = 11  # above the tallest bar, for the mark of an outlier
MAX_MATRIX_CLASSES = 20


def accuracy_chart(accuracy: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Dots with whiskers on one axis whose ends are whole steps around all intervals."""
    low = min(entry["wilson_low"] for entry in accuracy.values())
    high = max(entry["wilson_high"] for entry in accuracy.values())
    step = next(step for step in (0.1, 0.5, 1, 2, 5, 10, 25) if (high - low) / step <= 5 or step == 25)
    start, stop = math.floor(low / step) * step, min(100.0, math.ceil(high / step) * step)
    span = max(stop - start, step)

    def position(value: float) -> float:
        return 100 * (value - start) / span

    ticks = [start + step * number for number in range(round(span / step) + 1)]
    rows = [
        {
            "name": name,
            "title": fmt.stage_title(name),
            "at": position(entry["top1"]),
            "low": position(entry["wilson_low"]),
            "high": position(entry["wilson_high"]),
            **entry,
        }
        for name, entry in accuracy.items()
    ]
    return {"rows": rows, "ticks": [{"at": position(tick), "text": f"{tick:g}"} for tick in ticks if tick <= 100]}


def stacked_rows(regions: Mapping[str, Mapping[str, int] | None], parts: Sequence[str]) -> list[dict[str, Any]]:
    """One stacked bar per name: segments in percent of the largest total; names without figures are left out."""
    known = {name: region for name, region in regions.items() if region}
    largest = max((region["total"] for region in known.values()), default=0) or 1
    rows = []
    for name, region in known.items():
        start, segments = 0.0, []
        for part in parts:
            width = 100 * (region.get(part) or 0) / largest
            segments.append({"part": part, "start": start, "width": width, "bytes": region.get(part)})
            start += width
        rows.append({"name": name, "segments": segments, "total": region["total"]})
    return rows


def timeline_rows(timeline: Mapping[str, Any]) -> dict[str, Any]:
    """The memory timeline as stacked bars on the scale of the arena or the peak, whichever is larger.

    A kernel that works in place writes its output over its input: `shared_bytes` are both at once, and the output's
    segment begins inside the input's.
    """
    layers = timeline["layers"]
    peak = max((layer["total_bytes"] for layer in layers), default=0)
    scale = max(peak, timeline["arena_bytes"] or 0) or 1
    rows = []
    for layer in layers:
        sizes = {part: layer[f"{part}_bytes"] or 0 for part in ("input", "output", "scratch")}
        shared = max(0, sum(sizes.values()) - layer["total_bytes"])
        starts = {"input": 0, "output": sizes["input"] - shared}
        starts["scratch"] = max(sizes["input"], starts["output"] + sizes["output"])
        segments = [
            {"part": part, "start": 100 * starts[part] / scale, "width": 100 * value / scale, "bytes": value}
            for part, value in sizes.items()
        ]
        is_peak = layer["total_bytes"] == peak
        rows.append({**layer, "segments": segments, "shared_bytes": shared, "is_peak": is_peak})
    arena = timeline["arena_bytes"]
    return {"rows": rows, "arena_at": 100 * arena / scale if arena else None, "peak": peak, **_target_of(timeline)}


def _target_of(timeline: Mapping[str, Any]) -> dict[str, Any]:
    return {"target": timeline["target"], "arena_bytes": timeline["arena_bytes"]}


def histogram_chart(histogram: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Merged weights above the axis with the branches' outline over them, quantized below.

    Square-root heights so that tails show; each of the three to its own maximum.
    """
    edges, middle = histogram["bin_edges"], HEIGHT / 2
    low, high = edges[0], edges[-1]

    def x(value: float) -> float:
        return WIDTH * (value - low) / (high - low)

    outliers = histogram["outliers"]
    bounds = [outliers["mean"] - 4 * outliers["std"], outliers["mean"] + 4 * outliers["std"]]
    width = WIDTH / (len(edges) - 1)
    tallest = max(histogram["merged_counts"], default=0)
    beyond = [
        {"x": x((left + right) / 2), "y": middle - 1 - _bar_height(number, tallest, middle - ROOM)}
        for left, right, number in zip(edges, edges[1:], histogram["merged_counts"], strict=False)
        if number and (right < bounds[0] or left > bounds[1])
    ]
    return {
        "name": histogram["name"],
        "merged": _bars(histogram["merged_counts"], width, middle, -1),
        "quantized": _bars(histogram["quantized_counts"], width, middle, 1),
        "branches": _outline(histogram.get("branch_counts") or (), width, middle),
        "bounds": [x(bound) for bound in bounds if low < bound < high],
        "beyond": beyond,
        "low": fmt.decimal(low),
        "high": fmt.decimal(high),
        "zero": x(0.0) if low < 0 < high else None,
        "outliers": outliers,
        "layer": layer,
    }


def _bars(counts: Sequence[int], width: float, middle: float, direction: int) -> str:
    """An SVG path of bars standing on (direction −1) or hanging from (+1) the axis."""
    tallest = max(counts, default=0)
    path = []
    for number, value in enumerate(counts):
        if value:
            height = direction * _bar_height(value, tallest, middle - ROOM)
            foot = f"M{number * width:.1f} {middle + direction:.1f}"
            path.append(f"{foot}h{width - 0.6:.1f}v{height:.1f}h{0.6 - width:.1f}z")
    return "".join(path)


def _outline(counts: Sequence[int], width: float, middle: float) -> str:
    """An SVG path along the tops of bars that are not drawn; empty without counts."""
    tallest = max(counts, default=0)
    if not tallest:
        return ""
    tops = [middle - (_bar_height(value, tallest, middle - ROOM) if value else 0) for value in counts]
    steps = "".join(f"V{top:.1f}h{width:.2f}" for top in tops)
    return f"M0 {middle:.1f}{steps}V{middle:.1f}"


def _bar_height(value: int, tallest: int, room: float) -> float:
    """Square root of the count on a scale of the tallest bar; never too small to be seen."""
    return max(1.5, room * math.sqrt(value / tallest))


def confusion_view(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """Cells with a heat of 0 to 1 (share of the row), and the most frequent confusions."""
    names, matrix = confusion["class_names"], confusion["matrix"]
    samples = confusion.get("class_samples") or [None] * len(names)
    rows = []
    for number, counts in enumerate(matrix):
        total = sum(counts)
        cells = [{"count": c, "heat": c / total if total else 0.0, "right": k == number} for k, c in enumerate(counts)]
        recall = 100 * counts[number] / total if total else None
        rows.append(
            {"name": names[number], "cells": cells, "total": total, "recall": recall, "sample": samples[number]}
        )
    pictures = {(row["true"], row["predicted"]): row["images"] for row in confusion.get("samples", ())}
    wrong = [
        {"true": names[i], "predicted": names[k], "count": matrix[i][k], "images": pictures.get((i, k), ())}
        for i, k in frequent_confusions(matrix)[:PAIRS]
    ]
    return {
        "rows": rows, "names": names, "images": confusion["images"],
        "confused": wrong, "shows_matrix": len(names) <= MAX_MATRIX_CLASSES,
    }  # fmt: skip


def layer_table(layers: Sequence[Mapping[str, Any]], targets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Rows with shares for the bars, one column of instructions per target that counts them, and the totals."""
    counted = {
        name: {row["name"]: row["instructions"] for row in target["layers"] if row.get("instructions") is not None}
        for name, target in targets.items()
    }
    counted = {name: figures for name, figures in counted.items() if figures}
    largest = {
        key: max((layer[key] for layer in layers), default=0) or 1 for key in ("macs", "flash_bytes", "ram_bytes")
    }
    peaks = {name: max(figures.values()) or 1 for name, figures in counted.items()}
    rows = []
    for number, layer in enumerate(layers, start=1):
        instructions = [
            {"value": figures.get(layer["name"]), "share": 100 * figures.get(layer["name"], 0) / peaks[name]}
            for name, figures in counted.items()
        ]
        shares = {f"{key}_share": 100 * layer[key] / top for key, top in largest.items()}
        rows.append({"number": number, **layer, **shares, "op_text": _op(layer), "instructions": instructions})
    known = {layer["name"] for layer in layers}
    inside = {name: sum(v for layer, v in figures.items() if layer in known) for name, figures in counted.items()}
    return {
        "rows": rows,
        "targets": list(counted),
        "macs": sum(layer["macs"] for layer in layers),
        "flash_bytes": sum(layer["flash_bytes"] for layer in layers),
        "ram_bytes": max((layer["ram_bytes"] for layer in layers), default=0),
        "inside": list(inside.values()),
        "whole": [targets[name]["instructions"] for name in counted],
    }


def _op(layer: Mapping[str, Any]) -> str:
    if layer["op"] == "conv":
        return "conv 3×3" if layer["stride"] == 1 else f"conv 3×3, stride {layer['stride']}"
    return {"pool": "average pool", "fully_connected": "fully connected"}[layer["op"]]
