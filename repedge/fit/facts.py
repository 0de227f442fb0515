"""fit.json: everything a fit found, in one dictionary that the table on the terminal and the plot are drawn from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deploy.config import BudgetConfig
from repedge.fit.allocate import greedy_path, uniform_bits
from repedge.fit.build_table import KernelPlan, build_table
from repedge.fit.choose import Chosen, Settings
from repedge.fit.solver import pareto_front
from repedge.fit.table import Allocation, Option, cost_of, loss_of

SCHEMA_VERSION = 1
FRONT_POINTS = 240


def fit_facts(chosen: Chosen, settings: Settings, budget: BudgetConfig) -> dict[str, Any]:
    """Bytes are exact, losses measured on calibration images, instructions of the table estimated."""
    solution = chosen.solution
    measured = asdict(solution.measured) if solution.measured else None
    return {
        "schema_version": SCHEMA_VERSION,
        "net": chosen.net.recipe.name,
        "method": settings.method,
        "prefer": solution.prefer,
        "budget": budget.model_dump(mode="json", exclude_none=True),
        "bits": solution.bits,
        "weight_bytes": cost_of(solution.allocation).weight_bytes,
        "predicted_loss": chosen.predicted,
        "joint_loss": chosen.joint,
        "float_loss": chosen.float_loss,
        "firmware": measured,
        "layers": _layers(chosen),
        "points": points(chosen),
    }


def _layers(chosen: Chosen) -> list[dict[str, Any]]:
    """Per layer: what was chosen, and what every bit width would cost and lose."""
    rows = []
    for layer in build_table(chosen.layers, chosen.losses, KernelPlan()):
        option = layer.at(chosen.solution.bits[layer.name])
        options = [_option(other) for other in layer.options]
        rows.append({"name": layer.name, **_option(option), "options": options})
    return rows


def _option(option: Option) -> dict[str, Any]:
    return {"bits": option.bit_width, "weight_bytes": option.weight_bytes, "loss": option.loss}


def points(chosen: Chosen) -> dict[str, list[dict[str, Any]]]:
    """Bytes against predicted loss: the exact front, uniform widths, greedy at every limit, and the choice."""
    table = build_table(chosen.layers, chosen.losses, KernelPlan())
    names = chosen.layers.names
    front = pareto_front(table)
    kept = front[:: max(1, len(front) // FRONT_POINTS)]
    widths = sorted(chosen.layers.plans)
    choices = [uniform_bits(names, chosen.net.recipe.quantize, width) for width in widths]
    choices += [dict.fromkeys(names, width) for width in widths]
    uniform = [tuple(layer.at(bits[layer.name]) for layer in table) for bits in choices]
    labels = [f"{width} bits, ends as in the recipe" for width in widths] + [f"{width} bits" for width in widths]
    chosen_one = tuple(layer.at(chosen.solution.bits[layer.name]) for layer in table)
    return {
        "front": [_point(item) for item in (*kept, front[-1])],
        "greedy": [_point(item) for item in greedy_path(table)],
        "uniform": [_point(item) | {"label": label} for item, label in zip(uniform, labels, strict=True)],
        "chosen": [_point(chosen_one) | {"label": "chosen"}],
    }


def _point(allocation: Allocation) -> dict[str, Any]:
    return {"weight_bytes": cost_of(allocation).weight_bytes, "loss": loss_of(allocation)}
