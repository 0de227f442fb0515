"""A checked budget on the terminal: a table of all limits, then one line per broken one that names the layer to blame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.budget import describe_limit, value_text

NO_LIMITS = "no limits in this budget; name some under budget: in the recipe, or give --budget FILE"


def print_budget(budget: Mapping[str, Any]) -> None:
    """Print report.json's `budget` section on stdout."""
    limits = budget["limits"]
    if not limits:
        print(NO_LIMITS)
        return
    table = Table("limit", "verdict", "value", "allowed", "left", "largest layer", box=None, pad_edge=False)
    for column in table.columns[2:5]:
        column.justify = "right"
    for limit in limits:
        verdict, style = ("pass", None) if limit["passed"] else ("FAIL", "red")
        figures = _with_unit(value_text(limit), limit), _allowed(limit), _margin(limit)
        table.add_row(limit["name"], verdict, *figures, limit["worst_layer"] or "", style=style)
    console = Console()
    # a pipe has no width of its own; a cut figure would be a wrong one
    console.width = max(console.width, 120)
    console.print(table)
    broken = [limit for limit in limits if not limit["passed"]]
    print(f"{len(limits) - len(broken)} of {len(limits)} limits met")
    for limit in broken:
        print(f"FAIL  {describe_limit(limit)}")


def _allowed(limit: Mapping[str, Any]) -> str:
    sign = "≥" if limit["direction"] == "min" else "≤"
    bound = format(limit["limit"], ",.10g")
    return f"{sign} {_with_unit(bound, limit)}"


def _with_unit(number: str, limit: Mapping[str, Any]) -> str:
    unit = {"bytes": "B", "percent": "%", "instructions": ""}.get(limit["unit"], limit["unit"])
    return f"{number} {unit}".rstrip()


def _margin(limit: Mapping[str, Any]) -> str:
    """What is left of the limit, negative where it is broken; figures with a fraction have at least three digits that count."""
    left = limit["limit"] - limit["value"]
    left = round(-left if limit["direction"] == "min" else left, 9)  # as accuracies are
    if isinstance(limit["value"], int):
        return f"{left:,.10g}"
    return f"{left:,.2f}" if abs(left) >= 1 or not left else f"{left:.3g}"
