"""What there is to choose: per layer its bit widths, each with its loss and its cost; and what a choice must keep to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

ADDITIVE = (
    "weight_bytes",
    "flash_bytes",
    "bit_operations",
    "instructions",
    "cycles",
)  # a choice costs the sum over its layers


@dataclass(frozen=True)
class Option:
    """One bit width of one layer. `loss` in nats; bytes as the encoder wrote them.

    `weight_bytes` are those of the portable kernel's tables, which a model is said to have; `flash_bytes` those of the
    kernel that the target's plan takes. `instructions` and `cycles` (upper end of the estimate) were counted where a
    limit asks for them, else 0. `arena_bytes` is what the kernel needs; of a choice the largest counts.
    """

    bit_width: int
    loss: float
    weight_bytes: int
    flash_bytes: int = 0
    bit_operations: int = 0
    instructions: int = 0
    cycles: int = 0
    arena_bytes: int = 0


@dataclass(frozen=True)
class LayerOptions:
    """A layer and its bit widths, the most bits first."""

    name: str
    options: tuple[Option, ...]

    def at(self, bit_width: int) -> Option:
        """The option of that bit width, or the nearest one below, else the lowest."""
        below = [option for option in self.options if option.bit_width <= bit_width]
        return below[0] if below else self.options[-1]


Table = Sequence[LayerOptions]
Allocation = tuple[Option, ...]  # one option per layer, in the table's order


@dataclass(frozen=True)
class Limits:
    """Upper limits of a choice, met when equal; None where there is none."""

    weight_bytes: int | None = None
    flash_bytes: int | None = None
    bit_operations: int | None = None
    instructions: int | None = None
    cycles: int | None = None
    arena_bytes: int | None = None

    def additive(self) -> tuple[str, ...]:
        """The sums that are limited."""
        return tuple(name for name in ADDITIVE if getattr(self, name) is not None)

    def without(self, name: str) -> Limits:
        """The same limits but one."""
        return replace(self, **{name: None})

    def fits(self, allocation: Allocation) -> bool:
        """Whether a choice keeps to all of them."""
        found = cost_of(allocation)
        pairs = [(getattr(found, field.name), getattr(self, field.name)) for field in fields(self)]
        return all(limit is None or value <= limit for value, limit in pairs)


@dataclass(frozen=True)
class Cost:
    """What a choice costs, by the names of the limits."""

    weight_bytes: int
    flash_bytes: int
    bit_operations: int
    instructions: int
    cycles: int
    arena_bytes: int


def cost_of(allocation: Allocation) -> Cost:
    """The sums over the layers, and the largest arena."""
    sums = {name: sum(getattr(option, name) for option in allocation) for name in ADDITIVE}
    return Cost(**sums, arena_bytes=max((option.arena_bytes for option in allocation), default=0))


def loss_of(allocation: Allocation) -> float:
    """The predicted loss: the sum of what each layer costs alone."""
    return float(sum(option.loss for option in allocation))


def bits_of(table: Table, allocation: Allocation) -> dict[str, int]:
    """Layer name -> bit width."""
    return {layer.name: option.bit_width for layer, option in zip(table, allocation, strict=True)}


def within_arena(table: Table, arena_bytes: int | None) -> list[LayerOptions]:
    """The table without options that need a larger arena; a layer may be left without any."""
    if arena_bytes is None:
        return list(table)
    return [
        LayerOptions(layer.name, tuple(option for option in layer.options if option.arena_bytes <= arena_bytes))
        for layer in table
    ]


def costs(layer: LayerOptions, names: Sequence[str]) -> NDArray[np.int64]:
    """(options, names) of the additive costs."""
    rows = [[getattr(option, name) for name in names] for option in layer.options]
    return np.array(rows, np.int64).reshape(len(layer.options), len(names))
