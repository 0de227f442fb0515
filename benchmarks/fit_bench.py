"""The work of the fit benchmark: float nets, budgets, the cells of every method, the test split at the end."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy_grid import Cell
from benchmarks.accuracy_hours import seconds_of
from benchmarks.fit_grid import FitGrid, Unit
from benchmarks.jobs import Share
from repedge.commit import git_commit
from repedge.fit.allocate import uniform_bits
from repedge.fit.build_table import sizes_by_shape
from repedge.fit.choose import Settings
from repedge.fit.compare import CELLS_FOLDER, METHODS, Comparison
from repedge.fit.nets import Net, Start, untrained
from repedge.fit.target_fit import Request
from repedge.progress import Progress
from repedge.recipe import Recipe
from repedge.results_file import Line, ResultsFile
from train.artefact import MANIFEST_NAME, read_manifest, sha256_json
from train.checkpoint import load_network
from train.config import PhaseConfig
from train.dataset import Dataset
from train.evaluate import top1
from train.layout import macs
from train.model import CLASSIFIER, RepVGG

UPPER = "upper"  # the reference: the uniform width above the budget


@dataclass(frozen=True)
class FitBench:
    """One invocation. `float_nets`: a folder with finished float nets of the accuracy benchmark."""

    grid: FitGrid
    units: Sequence[Unit]
    results: ResultsFile
    start: Start
    dataset: Dataset
    float_nets: Path | None = None

    @property
    def trainings(self) -> int:
        """QAT phases of a unit, at most: every uniform width once, every other method at every budget."""
        widths = {round_to(bits) for bits in self.grid.bits for round_to in (math.floor, math.ceil)}
        return len(widths) + (len(METHODS) - 1) * len(self.grid.bits)

    def budget(self, recipe: Recipe, bits: float) -> int:
        """Bytes midway between the uniform widths below and above."""
        return sum(self.uniform_bytes(recipe, width) for width in (math.floor(bits), math.ceil(bits))) // 2

    def uniform_bytes(self, recipe: Recipe, width: int) -> int:
        """Encoded bytes of a net with one width but in its ends."""
        merged = untrained(recipe, self.dataset)
        names = (*(conv.name for conv in merged.convs), CLASSIFIER)
        return sum(sizes_by_shape(merged, uniform_bits(names, recipe.quantize, width)).values())

    def run(self, share: Share) -> None:
        """Train what is missing of a share of the units."""
        mine = share.keys({unit.recipe.name: self._cost(unit) for unit in self.units})
        for unit in self.units:
            if unit.recipe.name in mine:
                self._run_unit(unit)

    def _run_unit(self, unit: Unit) -> None:
        net = self._net(unit)
        for bits in self.grid.bits:
            budget, above = self.budget(unit.recipe, bits), self.uniform_bytes(unit.recipe, math.ceil(bits))
            self._comparison(unit, bits, budget).run(lambda _: net, METHODS, [unit.seed])
            self._comparison(unit, bits, above, role=UPPER).run(lambda _: net, ["uniform"], [unit.seed])

    def _comparison(self, unit: Unit, bits: float, limit: int, *, role: str = "budget") -> Comparison:
        """The comparison of one unit at one limit on bytes."""
        tags = {
            "net": unit.net,
            "size": unit.recipe.model.size,
            "recipe_sha256": recipe_sha256(unit),
            "bits_per_weight": bits,
            "budget_bytes": self.budget(unit.recipe, bits),
            "role": role,
        }
        settings = Settings(images=self.grid.images, gate_steps=self.grid.gate_steps)
        progress = Progress(self.start.quiet)
        return Comparison(
            self.start, self.results, Request(weight_bytes=limit), settings, progress, tags=tags, notes=self._notes
        )

    @cached_property
    def _notes(self) -> dict[str, Any]:
        return {
            "data_sha256": self.dataset.sha256,
            "dataset_notes": list(self.dataset.notes),
            "commit": git_commit(),
            "tool_versions": {"python": platform.python_version(), "torch": torch.__version__},
            "command": "python -m benchmarks.fit",
        }

    def _net(self, unit: Unit) -> Net:
        """The float net of a unit: a finished one of the same key, else trained here."""
        known = self._known_float_net(unit)
        return self.start.net_of(unit.recipe) if known is None else self.start.adopted(unit.recipe, known)

    def _known_float_net(self, unit: Unit) -> Path | None:
        """Where the accuracy benchmark left the very same float net; None where it did not, or has not finished it."""
        if self.float_nets is None:
            return None
        key = _cell(unit).float_key
        folder = self.float_nets / f"float-{key[:16]}"
        finished = (folder / MANIFEST_NAME).is_file() and read_manifest(folder).key == key
        return folder if finished else None

    def _float_epochs(self, unit: Unit) -> int:
        return 0 if self._known_float_net(unit) else unit.recipe.train.float_phase.epochs

    def _cost(self, unit: Unit) -> float:
        """Work of a unit, to share it out evenly."""
        size = macs(unit.recipe.model, input_hwc=self.dataset.input_hwc, classes=len(self.dataset.class_names))
        return size * (self._float_epochs(unit) + self.trainings * (1 + unit.recipe.train.qat_phase.epochs))

    def lines(self) -> list[Line]:
        """The newest line of every cell of this grid."""
        found = {_identity(line): line for line in self.results.lines().values()}
        return [found[wanted] for wanted in self._wanted() if wanted in found]

    def missing(self) -> int:
        """Cells without a line."""
        return len(self._wanted()) - len(self.lines())

    def _wanted(self) -> list[tuple[Any, ...]]:
        cells = [*(("budget", method) for method in METHODS), (UPPER, "uniform")]
        return [
            (recipe_sha256(unit), self.budget(unit.recipe, bits), *cell)
            for unit in self.units
            for bits in self.grid.bits
            for cell in cells
        ]

    def hours(self) -> float:
        """Of one process, at most: methods that choose the same bits share a training; choosing takes seconds per net."""
        done = [line["recipe_sha256"] for line in self.lines()]
        cells = []
        for unit in self.units:
            expected = len(self.grid.bits) * (len(METHODS) + 1)
            missing = min(self.trainings, expected - done.count(recipe_sha256(unit)))
            cells += [_with_float_epochs(_cell(unit), self._float_epochs(unit))] * missing
        return seconds_of(cells, self.dataset, device=self.start.device) / 3600 if cells else 0.0

    def measure_test(self, say: Callable[[str], None]) -> None:
        """Top-1 on the test split of every finished cell, once, when all choices are made."""
        known: dict[str, float] = {}
        for line in self.lines():
            if "training" in line and "top1_test" not in line:
                name = line["training"]
                if name not in known:
                    known[name] = self._test_top1(load_network(self.start.work / CELLS_FOLDER / name, "qat"))
                    say(f"{line['net']} seed {line['seed']}, {line['weight_bytes']:,} B: test {known[name]:.2f} %")
                self.results.change(line["cell"], {"top1_test": known[name], "test_images": self._test_images})

    @property
    def _test_images(self) -> int:
        return len(self.dataset.test_labels)

    def _test_top1(self, network: RepVGG) -> float:
        images = torch.from_numpy(self.dataset.test_images).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
        labels = torch.from_numpy(self.dataset.test_labels.astype(np.int64))
        return top1(network.to(memory_format=torch.channels_last), images, labels)


def recipe_sha256(unit: Unit) -> str:
    """Of all that a unit's trainings depend on; keys at their defaults are left out, so that a new one changes nothing."""
    return sha256_json(unit.recipe.training().model_dump(mode="json", exclude_defaults=True))


def _identity(line: Line) -> tuple[Any, ...]:
    return line.get("recipe_sha256"), line["budget_bytes"], line.get("role"), line["method"]


def _cell(unit: Unit) -> Cell:
    return Cell({}, unit.recipe.training())


def _with_float_epochs(cell: Cell, epochs: int) -> Cell:
    """The cell with so many float epochs."""
    phases = cell.recipe.train
    phase: PhaseConfig = phases.float_phase.model_copy(update={"epochs": epochs})
    train = phases.model_copy(update={"float_phase": phase})
    return Cell(cell.factors, cell.recipe.model_copy(update={"train": train}))
