"""The grid of the accuracy benchmark: a star of one factor at a time around a default, plus products of factors.

A grid is a YAML file. `settings` says what a factor's value means in recipe keys: either the one key that takes the
value itself, or a mapping from value to {recipe key: value}. A cell is one choice per factor, `seed` among them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from benchmarks.grid_file import read_grid
from train.artefact import sha256_json
from train.config import Section, TrainingRecipe
from train.errors import ConfigError
from train.validation import explain

Value = str | int | float | bool
Factors = dict[str, Value]


class PruneConfig(Section):
    """A cell stops after `after_epochs` of a phase when it looks hopeless on the validation split."""

    after_epochs: int = Field(5, ge=1)
    below_float: float = Field(30.0, gt=0, description="QAT: points below its float net")
    times_chance: float = Field(1.5, gt=0, description="float: not even this multiple of guessing")


class Grid(Section):
    """What to train."""

    base: dict[str, Any]
    default: Factors
    claims: Factors = Field({}, description="over `default`: what the goals are judged with")
    settings: dict[str, str | dict[Value, dict[str, Any]]]
    star: dict[str, list[Value]] = {}
    products: list[dict[str, list[Value]]] = []
    prune: PruneConfig = PruneConfig()


@dataclass(frozen=True)
class Cell:
    """One choice per factor and the recipe that it means; `key` identifies it across runs."""

    factors: Factors
    recipe: TrainingRecipe

    @property
    def key(self) -> str:
        """Hash of the whole recipe: a changed schedule is another cell. A null takes no part, so that a new option leaves finished cells valid."""
        return sha256_json(self.recipe.model_dump(mode="json", exclude_none=True))

    @property
    def float_key(self) -> str:
        """Hash of all that the float phase depends on: cells that share it share a float net."""
        recipe = self.recipe.model_dump(mode="json", exclude_none=True)
        return sha256_json(
            {
                "float_phase": recipe["train"]["float_phase"],
                **{name: recipe[name] for name in ("seed", "data", "model", "norm")},
            }
        )


def load_grid(path: Path) -> Grid:
    """Read and check a grid."""
    return read_grid(path, Grid, example="benchmarks/accuracy_grid.yaml")


def cells_of(grid: Grid) -> list[Cell]:
    """The default, the star, then the products, each cell once, in the file's order."""
    choices = [{}, *({factor: value} for factor, values in grid.star.items() for value in values)]
    for product in grid.products:
        choices += [dict(zip(product, values, strict=True)) for values in itertools.product(*product.values())]
    cells = [make_cell(grid, {**grid.default, **choice}) for choice in choices]
    return list({cell.key: cell for cell in cells}.values())


def make_cell(grid: Grid, factors: Factors) -> Cell:
    """The cell of one choice per factor."""
    content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(grid.base))
    for factor, value in factors.items():
        for key, setting in _settings(grid, factor, value).items():
            _set(content, key, setting)
    try:
        return Cell(factors, TrainingRecipe.model_validate(content))
    except ValidationError as error:
        raise ConfigError(f"grid, cell {factors}:\n{explain(error, TrainingRecipe)}") from error


def _settings(grid: Grid, factor: str, value: Value) -> dict[str, Any]:
    meaning = grid.settings.get(factor)
    if meaning is None:
        raise ConfigError(
            f"grid: factor {factor} has no meaning, allowed are {sorted(grid.settings)}; add it to settings"
        )
    if isinstance(meaning, str):
        return {meaning: value}
    if value not in meaning:
        raise ConfigError(f"grid: {factor} {value!r} has no meaning, allowed are {list(meaning)}; add it to settings")
    return meaning[value]


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    content[last] = value
