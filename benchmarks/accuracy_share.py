"""How the cells of the accuracy benchmark are shared among processes: whole groups with one float net, equal work."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.accuracy_grid import Cell
from benchmarks.jobs import Share

MEASURING_EPOCHS = 1.0  # what evaluating a cell costs, in epochs


def cells_of_share(share: Share, cells: Sequence[Cell]) -> list[Cell]:
    """A share's cells in the grid's order; cells with one float net stay together."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.float_key, []).append(cell)
    mine = share.keys({key: epochs_of(group) for key, group in groups.items()})
    return [cell for cell in cells if cell.float_key in mine]


def epochs_of(group: Sequence[Cell]) -> float:
    """Epochs of a group: its float net once, every cell's QAT phase and measuring."""
    qat = sum(cell.recipe.train.qat_phase.epochs + MEASURING_EPOCHS for cell in group)
    return group[0].recipe.train.float_phase.epochs + qat
