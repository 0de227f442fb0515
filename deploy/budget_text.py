"""A checked budget on the terminal: a table of all limits, then one line per broken one that names the layer to blame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.budget import describe_limit

NO_LIMITS = "no limits in this budget; name some under budget: in the recipe, or give --budget FILE"


def print_budget(budget: Mapping[str, Any]) -> None:
    """Print report.json's `budget` section on stdout."""
    limits = budget["limits"]
    if not limits:
        print(NO_LIMITS)
        return
    table = Table("limit", "verdict", "value", "allowed", "left", "largest layer", box=None, pad_edge=False)
    for limit in limits:
        row = (limit["name"], "pass" if limit["passed"] else "FAIL", _number(limit, "value"), _allowed(limit))
        style = None if limit["passed"] else "red"
        table.add_row(*row, f"{_margin(limit):,.10g}", limit["worst_layer"] or "", style=style)
    console = Console()
    # a pipe has no width of its own; a cut figure would be a wrong one
    console.width = max(console.width, 120)
    console.print(table)
    broken = [limit for limit in limits if not limit["passed"]]
    print(f"{len(limits) - len(broken)} of {len(limits)} limits met")
    for limit in broken:
        print(f"FAIL  {describe_limit(limit)}")


def _allowed(limit: Mapping[str, Any]) -> str:
    return f"{'≥' if limit['direction'] == 'min' else '≤'} {_number(limit, 'limit')}"


def _number(limit: Mapping[str, Any], key: str) -> str:
    unit = {"bytes": "B", "percent": "%", "instructions": ""}.get(limit["unit"], limit["unit"])
    return f"{limit[key]:,.10g} {unit}".rstrip()


def _margin(limit: Mapping[str, Any]) -> float:
    """What is left of the limit, negative where it is broken; rounded as accuracies are."""
    left = limit["limit"] - limit["value"]
    return round(-left if limit["direction"] == "min" else left, 9)
