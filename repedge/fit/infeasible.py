"""What a budget that cannot be met is told: which limit, the smallest value that could be met, and the layer to blame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repedge.fit.solver import solve
from repedge.fit.table import Limits, Table, cost_of
from train.errors import BudgetExceeded

UNITS = {
    "weight_bytes": "bytes",
    "flash_bytes": "bytes",
    "ram_bytes": "bytes",
    "arena_bytes": "bytes",
    "bit_operations": "bit operations",
    "instructions": "instructions",
    "cycles": "ms, upper end of the estimate",
}
REMEDY = "or give a narrower net (several nets may be named, and the best one that fits is taken)"


class Infeasible(BudgetExceeded):
    """No choice keeps the budget; `facts` are what the message says, for machines."""

    def __init__(self, message: str, facts: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.facts = dict(facts)


def refuse(name: str, limit: float, smallest: float, worst: str, *, given: str = "") -> Infeasible:
    """A limit below the smallest value that the net can reach; `given` says under which other limits."""
    unit = UNITS[name]
    name = "latency_ms" if name == "cycles" else name
    return Infeasible(
        f"{name}: allowed are {limit:,.10g} {unit}, the smallest feasible{given} is {smallest:,.10g}; layer {worst} takes "
        f"most of it; allow at least {smallest:,.10g}, {REMEDY}",
        {"limit": name, "allowed": limit, "smallest_feasible": smallest, "unit": unit, "worst_layer": worst},
    )


def largest_layer(table: Table, name: str) -> str:
    """The layer whose least cost is the largest."""
    return max(table, key=lambda layer: min(getattr(option, name) for option in layer.options)).name


def explain(table: Table, limits: Limits, *, beside: Mapping[str, int], clock_hz: int = 1) -> Infeasible:
    """Why a table has no choice within the limits; `beside`: what stands beside the table's sums, by limit."""

    def shown(name: str, value: int) -> float:
        total = value + beside.get(name, 0)
        return 1e3 * total / clock_hz if name == "cycles" else total

    for name in limits.additive():
        smallest = sum(min(getattr(option, name) for option in layer.options) for layer in table)
        if smallest > getattr(limits, name):
            allowed = shown(name, getattr(limits, name))
            return refuse(name, allowed, shown(name, smallest), largest_layer(table, name))
    for name in limits.additive():
        found = solve(table, limits.without(name), minimise=name)
        if found is not None:
            smallest = getattr(cost_of(found), name)
            allowed = shown(name, getattr(limits, name))
            given = " while the other limits hold"
            return refuse(name, allowed, shown(name, smallest), largest_layer(table, name), given=given)
    return Infeasible(
        f"{', '.join(limits.additive())}: no two of these limits hold together for this net; loosen them, {REMEDY}",
        {"limit": "together", "limits": list(limits.additive())},
    )
