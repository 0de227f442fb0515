"""The report's part on a microcontroller's kernels: what each layer runs, where instructions go, and what else could be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

from deploy import report_format as fmt

EDGE = 10  # percent of the trade-off chart that stays free on each side
FUNCTIONS_MAX = 12


def kernel_views(targets: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One view per target that was profiled by function."""
    return [_view(name, target) for name, target in targets.items() if target.get("functions")]


def _view(name: str, target: Mapping[str, Any]) -> dict[str, Any]:
    functions = target["functions"]
    return {
        "name": name,
        "layers": target["layers"],
        "functions": [_function(row) for row in functions[:FUNCTIONS_MAX]],
        "other_functions": max(0, len(functions) - FUNCTIONS_MAX),
        "peak": target.get("peak_ram_bytes"),
        "stack": _stack(target),
        "stack_path": " → ".join(target.get("stack_worst_path", ())),
        "kernel_code_bytes": (target.get("kernel_code_bytes") or {}).get("total"),
        "trade_off": _trade_off(target["trade_off"]) if target.get("trade_off") else None,
    }


def _stack(target: Mapping[str, Any]) -> dict[str, int] | None:
    """The program's stack, used (of two measurements the larger) and bounded."""
    used, bound = target.get("stack_used_bytes"), target.get("stack_bound_bytes")
    return {"used": max(used.values()), "bound": bound["program"]} if used and bound else None


def _function(row: Mapping[str, Any]) -> dict[str, Any]:
    """A function with the layers that make most of it."""
    layers = sorted(row["layers"].items(), key=lambda pair: (-pair[1], pair[0]))
    shares = [f"{name} {fmt.percent(100 * count / row['instructions'], 0)}" for name, count in layers[:3]]
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return {**row, "where": ", ".join(shares) + more}


def _trade_off(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The points with places in the chart: RAM to the right, instructions upwards on a logarithmic scale."""
    points, built = entry["points"], entry["built"]
    ram = [point["ram_bytes"] for point in (*points, built)]
    instructions = [point["instructions_estimated"] for point in points] + [built["instructions"]]
    placed = [
        {
            **point,
            "x": _place(point["ram_bytes"], ram),
            "y": _height(point["instructions_estimated"], instructions),
        }
        for point in points
    ]
    own = {
        **built,
        "x": _place(built["ram_bytes"], ram),
        "y": _height(built["instructions"], instructions),
    }
    ends = {"ram": (min(ram), max(ram)), "instructions": (min(instructions), max(instructions))}
    return {"points": placed, "built": own, "ends": ends, "edge": EDGE}


def _place(value: float, values: list[Any]) -> float:
    """Percent of the way from the least to the greatest."""
    low, high = min(values), max(values)
    return EDGE + (100 - 2 * EDGE) * (value - low) / (high - low or 1)


def _height(value: int, values: list[int]) -> float:
    return 100 - _place(log(max(1, value)), [log(max(1, other)) for other in values])
