"""The grid of the fit benchmark: which nets, which seeds, which budgets; one YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.grid_file import read_grid
from repedge.fit.compare import with_seed
from repedge.recipe import Recipe, apply_override, check_recipe
from train.config import Section


class FitNet(Section):
    """One net: recipe keys over the base, and the seeds that it is trained with."""

    recipe: dict[str, Any]
    seeds: tuple[int, ...] = Field(min_length=1)


class FitGrid(Section):
    """What to compare at which budgets."""

    base: dict[str, Any]
    nets: tuple[FitNet, ...]
    bits: tuple[float, ...] = Field((2.5, 3.5), description="bits per weight, each between two whole widths")
    images: int = Field(512, ge=1)
    gate_steps: int = Field(300, ge=1)


@dataclass(frozen=True)
class Unit:
    """One net with one seed: all its cells start from one float net, so one process trains them."""

    recipe: Recipe  # named after the net and the seed
    net: str
    seed: int


def load_grid(path: Path) -> FitGrid:
    """Read and check a grid."""
    return read_grid(path, FitGrid, example="benchmarks/fit_grid.yaml")


def recipes_of(grid: FitGrid, overrides: Sequence[str] = ()) -> list[tuple[Recipe, FitNet]]:
    """Every net's recipe, with `key.sub=value` overrides for all of them."""
    found = []
    for net in grid.nets:
        content = _merged(grid.base, net.recipe)
        for override in overrides:
            apply_override(content, override)
        found.append((check_recipe(content, f"of grid net {net.recipe.get('name', '?')}"), net))
    return found


def units_of(grid: FitGrid, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None) -> list[Unit]:
    """Every net with each of its seeds; of `seeds`, those alone."""
    return [
        Unit(with_seed(recipe, seed), recipe.name, seed)
        for recipe, net in recipes_of(grid, overrides)
        for seed in net.seeds
        if seeds is None or seed in seeds
    ]


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over `base`, section by section."""
    found = dict(base)
    for key, value in own.items():
        below = found.get(key)
        found[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found
