"""The benchmark of `repedge fit`: every method at budgets midway between uniform widths, trained alike, compared in pairs.

    python -m benchmarks.fit [--recipes FILE ...] [--bits 2.5 ...] [--seeds 0 ...] [--float-epochs N] [--qat-epochs N]
                             [--results FILE] [--tables FILE] [--work DIR] [--only-state] [--data-dir DIR] [--device NAME]

Budget b + 0.5 is the middle of the encoded bytes of the nets with b and with b + 1 bits in every layer but the recipe's
first and last one. It states the hours before it starts, can be interrupted at any time and never repeats a finished cell.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy_grid import Cell
from benchmarks.accuracy_hours import seconds_of
from convert.merge import merge_network
from repedge.commit import git_commit
from repedge.fit.allocate import uniform_bits
from repedge.fit.build_table import sizes_by_shape
from repedge.fit.choose import Settings
from repedge.fit.compare import METHODS, Comparison, interval_text, summary, with_seed
from repedge.fit.nets import Net, Start
from repedge.fit.target_fit import Request
from repedge.progress import Progress
from repedge.recipe import Recipe, load_recipe
from train.artefact import write_text
from train.checkpoint import ModelDescription, build_network
from train.config import PhaseConfig
from train.dataset import Dataset, load_dataset
from train.errors import PipelineError
from train.model import CLASSIFIER

HERE = Path(__file__).parent
RECIPES = tuple(HERE.parent / "recipes" / f"cifar10-{size}.yaml" for size in ("xs", "s"))
Line = dict[str, Any]


@dataclass(frozen=True)
class FitBench:
    """One invocation."""

    recipes: tuple[Recipe, ...]
    bits: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: Settings
    start: Start
    results: Path
    dataset: Dataset

    def groups(self) -> list[tuple[Recipe, float, int]]:
        """(recipe, bits per weight, budget in bytes), the recipes in turn."""
        return [(recipe, bits, self.budget(recipe, bits)) for recipe in self.recipes for bits in self.bits]

    def budget(self, recipe: Recipe, bits: float) -> int:
        """Bytes midway between the uniform widths below and above."""
        return sum(self.uniform_bytes(recipe, width) for width in (math.floor(bits), math.ceil(bits))) // 2

    def uniform_bytes(self, recipe: Recipe, width: int) -> int:
        """Encoded bytes of a net with one width but in its ends."""
        description = ModelDescription(
            class_names=self.dataset.class_names, input_hwc=self.dataset.input_hwc, model=recipe.model, norm=recipe.norm
        )
        merged = merge_network(build_network(description), self.dataset.input_hwc)
        names = (*(conv.name for conv in merged.convs), CLASSIFIER)
        return sum(sizes_by_shape(merged, uniform_bits(names, recipe.quantize, width)).values())

    def comparison(self, recipe: Recipe, bits: float, budget: int) -> Comparison:
        """The comparison of one group."""
        return Comparison(
            self.start,
            self.results,
            Request(weight_bytes=budget),
            self.settings,
            Progress(self.start.quiet),
            tags={"net": recipe.name, "size": recipe.model.size, "bits_per_weight": bits, "budget_bytes": budget},
            notes={
                "data_sha256": self.dataset.sha256,
                "dataset_notes": list(self.dataset.notes),
                "commit": git_commit(),
                "tool_versions": {"python": platform.python_version(), "torch": torch.__version__},
                "command": "python -m benchmarks.fit",
            },
        )

    def net_of_seed(self, recipe: Recipe) -> Callable[[int], Net]:
        """The float net of a seed, trained once for all budgets and methods."""
        return lambda seed: self.start.net_of(with_seed(recipe, seed))

    def hours(self) -> float:
        """Of the cells without a line; measuring sensitivities and training gates come on top, minutes per net."""
        known = Comparison(self.start, self.results, Request(), self.settings, Progress(True), {}).lines().values()
        done = {_identity(line) for line in known}
        cells = []
        for (recipe, _, budget), method, seed in itertools.product(self.groups(), METHODS, self.seeds):
            training = with_seed(recipe, seed).training()
            phases = training.train
            epochs = (phases.float_phase.epochs, phases.qat_phase.epochs)
            if (recipe.name, budget, method, seed, *epochs) not in done:
                cells.append(Cell({}, training))
        return seconds_of(cells, self.dataset, device=self.start.device) / 3600 if cells else 0.0


def _identity(line: Line) -> tuple[Any, ...]:
    keys = ("net", "budget_bytes", "method", "seed", "float_epochs", "epochs")
    return tuple(line.get(key) for key in keys)


def run_bench(bench: FitBench) -> str:
    """Train what is missing; returns the page of tables."""
    parts = [
        "# Fitting bits to a budget",
        "Generated by `make bench-fit` from its results file; do not edit. Top-1 accuracy in percent on the validation split "
        "after the same QAT epochs from the same float net; `exact ahead` is paired by seed. ± is half of a 95 % interval "
        "over seeds, absent with one seed. `uniform` is the widest single width (first and last layer as in the recipe) "
        "within the budget. Bytes are those of the encoder.",
    ]
    for recipe, bits, budget in bench.groups():
        lines = bench.comparison(recipe, bits, budget).run(bench.net_of_seed(recipe), METHODS, bench.seeds)
        parts.append(f"## {recipe.name}, {bits:g} bits per weight: {budget:,} B\n\n{_table(lines)}")
    return "\n\n".join(parts) + "\n"


def _table(lines: Sequence[Line]) -> str:
    rows = ["| method | seeds | bytes | top-1 | exact ahead |", "|---|---|---|---|---|"]
    for row in summary(lines):
        sizes = ", ".join(f"{size:,}" for size in row["weight_bytes"]) or "does not fit"
        accuracy, ahead = interval_text(row["top1_validation"]), interval_text(row["exact_ahead"], sign=True)
        rows.append(f"| {row['method']} | {len(row['seeds'])} | {sizes} | {accuracy} | {ahead or '–'} |")
    return "\n".join(rows)


def _with_epochs(recipe: Recipe, float_epochs: int | None, qat_epochs: int | None) -> Recipe:
    phases = recipe.train

    def changed(phase: PhaseConfig, epochs: int | None) -> PhaseConfig:
        return phase if epochs is None else phase.model_copy(update={"epochs": epochs})

    updated = {
        "float_phase": changed(phases.float_phase, float_epochs),
        "qat_phase": changed(phases.qat_phase, qat_epochs),
    }
    return recipe.model_copy(update={"train": phases.model_copy(update=updated)})


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", type=Path, nargs="+", default=list(RECIPES))
    parser.add_argument("--bits", type=float, nargs="+", default=[2.5, 3.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--float-epochs", type=int, help="default: the recipe's")
    parser.add_argument("--qat-epochs", type=int, help="default: the recipe's")
    parser.add_argument("--images", type=int, default=512, help="calibration images")
    parser.add_argument("--gate-steps", type=int, default=300)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "fit.jsonl")
    parser.add_argument("--tables", type=Path, default=HERE / "FIT.md")
    parser.add_argument("--work", type=Path, default=Path("runs") / "bench-fit", help="checkpoints and measurements")
    parser.add_argument("--only-state", action="store_true", help="state the hours and stop")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    try:
        bench = _bench(options)
        cells = len(bench.groups()) * len(METHODS) * len(bench.seeds)
        print(f"{cells} cells; training the missing ones takes about {bench.hours():.2g} hours", file=sys.stderr)
        if options.only_state:
            return 0
        write_text(options.tables, run_bench(bench))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {options.results} and {options.tables}")
    return 0


def _bench(options: argparse.Namespace) -> FitBench:
    recipes = tuple(
        _with_epochs(load_recipe(path), options.float_epochs, options.qat_epochs) for path in options.recipes
    )
    start = Start(options.work, (), options.data_dir, options.device, quiet=False)
    return FitBench(
        recipes,
        tuple(options.bits),
        tuple(options.seeds),
        replace(Settings(), images=options.images, gate_steps=options.gate_steps),
        start,
        options.results,
        load_dataset(recipes[0].data, options.data_dir),
    )


if __name__ == "__main__":
    sys.exit(main())
