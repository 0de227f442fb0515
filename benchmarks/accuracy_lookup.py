"""Finding cells among the results: one choice of factors over all its seeds, what of it is missing, and its float reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmarks.accuracy_grid import Cell, Grid, Value, cells_of

Line = dict[str, Any]
FLOAT = "float"  # the quantizer factor's value that trains on without quantizing
# what a float net's further training does not depend on
NOT_OF_FLOAT = {"quantizer", "weight_bits", "activation_bits", "granularity"}
SPLITS = {"validation": ("top1_float", "top1_validation"), "test": ("top1_float_test", "top1_test")}


@dataclass(frozen=True)
class Seeds:
    """One choice: its finished lines by seed, the pruned ones, and the seeds that the grid holds but nobody ran."""

    lines: dict[Value, Line] = field(default_factory=dict)
    pruned: tuple[Value, ...] = ()
    missing: tuple[Value, ...] = ()

    def values(self, key: str) -> dict[Value, float]:
        """Seed -> a number of the line, where it has one."""
        return {seed: line[key] for seed, line in self.lines.items() if line.get(key) is not None}

    @property
    def state(self) -> str:
        """What is missing, in words; empty where all is there."""
        if not (self.lines or self.pruned or self.missing):
            return "not in the grid"
        parts = [f"{len(self.pruned)} pruned"] if self.pruned else []
        parts += [f"{len(self.missing)} not run"] if self.missing else []
        if not self.lines and len(parts) == 1:
            return "pruned" if self.pruned else "not run"
        return ", ".join(parts)


@dataclass(frozen=True)
class Results:
    """The grid and the lines of its cells; lines of other cells (an older grid's) are out of sight."""

    grid: Grid
    all_lines: dict[str, Line]

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return cells_of(self.grid)

    @cached_property
    def lines(self) -> list[Line]:
        """The finished cells in the grid's order, pruned ones too."""
        return [line for line in map(self.line_of, self.cells) if line is not None]

    def line_of(self, cell: Cell) -> Line | None:
        """The cell's line with its factors as the grid has them today; None where nobody ran it."""
        line = self.all_lines.get(cell.key)
        return None if line is None else {**line, **cell.factors}

    @property
    def norm(self) -> Value:
        """The OABN variant that the claims are about: the default, if it is one."""
        default = str(self.grid.default.get("norm", "oabn"))
        return default if default.startswith("oabn") else "oabn"

    @property
    def cluster(self) -> Value:
        """The ClusterQAT variant that the claims are about: the default, if it is one."""
        default = str(self.grid.default.get("quantizer", "cluster"))
        return default if default.startswith("cluster") else "cluster"

    @property
    def schedules(self) -> list[int]:
        """QAT epochs that the grid has for ClusterQAT on OABN, the shortest first."""
        wanted = {"norm": self.norm, "quantizer": self.cluster, "weight_bits": self.grid.default.get("weight_bits")}
        wanted |= self.grid.claims
        found = [cell for cell in self.cells if all(cell.factors.get(f) == value for f, value in wanted.items())]
        return sorted({cell.recipe.train.qat_phase.epochs for cell in found})

    def find(self, **choice: Value) -> Seeds:
        """The default with this choice, over all seeds."""
        wanted = {**self.grid.default, **choice}
        wanted.pop("seed", None)
        lines: dict[Value, Line] = {}
        pruned, missing = [], []
        for cell in self.cells:
            if any(cell.factors.get(factor) != value for factor, value in wanted.items()):
                continue
            seed, line = cell.factors.get("seed", 0), self.line_of(cell)
            if line is None:
                missing.append(seed)
            elif line["pruned"]:
                pruned.append(seed)
            else:
                lines[seed] = line
        return Seeds(lines, tuple(pruned), tuple(missing))

    def claimed(self, **choice: Value) -> Seeds:
        """What the goals are judged with, with this choice, over all seeds."""
        return self.find(**{**self.grid.claims, **choice})

    def reference(self, line: Line, split: str = "validation") -> tuple[float | None, bool]:
        """(accuracy of the better of the float net and the same net trained on, whether both were measured).

        Post-training quantization trains nothing, so its reference is the float net alone.
        """
        of_float, of_cell = SPLITS[split]
        trained_on = self.trained_on(line)
        values = [line.get(of_float), *([trained_on.get(of_cell)] if trained_on else [])]
        known = [value for value in values if value is not None]
        complete = len(known) == len(values) and (trained_on is not None or not line["epochs"])
        return (max(known) if known else None), complete

    def trained_on(self, line: Line) -> Line | None:
        """The `float` cell of the same net, schedule and distillation; None where it is missing or pruned."""
        if not line["epochs"]:
            return None
        same = [*(factor for factor in self.grid.default if factor not in NOT_OF_FLOAT), "epochs", "float_epochs"]
        for other in self.lines:
            if (
                other.get("quantizer") == FLOAT
                and not other["pruned"]
                and all(other.get(k) == line.get(k) for k in same)
            ):
                return other
        return None

    def judged(self, seeds: Seeds, split: str = "validation") -> dict[Value, tuple[float, float]]:
        """Seed -> (float reference, quantized), for the seeds measured on that split with a whole reference."""
        found = {}
        for seed, line in seeds.lines.items():
            reference, complete = self.reference(line, split)
            value = line.get(SPLITS[split][1])
            if complete and reference is not None and value is not None:
                found[seed] = reference, value
        return found

    def losses(self, seeds: Seeds, split: str = "validation") -> dict[Value, float]:
        """Seed -> what is lost of `judged`'s reference, in points."""
        return {seed: reference - value for seed, (reference, value) in self.judged(seeds, split).items()}
