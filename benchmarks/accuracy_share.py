"""How the cells of the accuracy benchmark are shared among processes: whole groups with one float net, equal work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.accuracy_grid import Cell

MEASURING_EPOCHS = 1.0  # what evaluating a cell costs, in epochs


@dataclass(frozen=True)
class Share:
    """Share `number` (from 0) of `total`."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """`0/2` is the first of two shares."""
        number, _, total = text.partition("/")
        if not (number.isdigit() and total.isdigit() and int(number) < int(total)):
            raise argparse.ArgumentTypeError(f"{text!r}: allowed is K/N with K from 0 to N - 1")
        return cls(int(number), int(total))

    def cells(self, cells: Sequence[Cell]) -> list[Cell]:
        """This share's cells in the grid's order; the largest groups are dealt first, each to who has least."""
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.float_key, []).append(cell)
        work, mine = [0.0] * self.total, set()
        for key, group in sorted(groups.items(), key=lambda item: (-epochs_of(item[1]), item[0])):
            owner = work.index(min(work))
            work[owner] += epochs_of(group)
            if owner == self.number:
                mine.add(key)
        return [cell for cell in cells if cell.float_key in mine]


WHOLE = Share(0, 1)


def epochs_of(group: Sequence[Cell]) -> float:
    """Epochs of a group: its float net once, every cell's QAT phase and measuring."""
    qat = sum(cell.recipe.train.qat_phase.epochs + MEASURING_EPOCHS for cell in group)
    return group[0].recipe.train.float_phase.epochs + qat
