"""The accuracy benchmark: trains every cell of a grid that has no line yet, one JSON line per cell, then the tables.

    python -m benchmarks.accuracy [--grid FILE] [--results FILE] [--tables FILE] [--work DIR] [--only-state] [--only-tables]
                                  [--test factor=value ...] [--facts] [--data-dir DIR] [--device NAME] [--jobs N]

It states the hours before it starts, can be interrupted at any time (a cell goes on after its last whole epoch) and
never repeats a finished cell. Cells are measured on the validation split; `--test` measures the test split for the
finished cells that match (and of their float nets), and for nothing else. With `--jobs N` that many processes share
the cells: those with the same float net stay together, every process appends its lines to the one results file.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy_bench import Bench
from benchmarks.accuracy_facts import float_facts
from benchmarks.accuracy_grid import Cell, cells_of, load_grid
from benchmarks.accuracy_hours import seconds_of
from benchmarks.accuracy_share import cells_of_share
from benchmarks.accuracy_tables import write_tables
from benchmarks.jobs import WHOLE, Share, run_jobs
from convert import reference
from convert.diagonal_split import split_logits
from convert.from_float import lower_float
from convert.merge import merge_network
from repedge.commit import git_commit
from repedge.results_file import Line, ResultsFile
from train.artefact import read_manifest, write_json
from train.checkpoint import load_network
from train.config import PhaseConfig, QatPhaseConfig, TrainingRecipe
from train.dataset import load_dataset
from train.errors import ConfigError, PipelineError, TrainingDiverged
from train.evaluate import top1
from train.loop import train_model
from train.model import RepVGG
from train.split import split_validation

HERE = Path(__file__).parent
CALIBRATION_IMAGES = 1024
PRUNED_FILE = "pruned.json"


class CellPruned(Exception):
    """A cell that its validation accuracy showed to be hopeless; not an error."""


def run_bench(bench: Bench, *, say: Callable[[str], None], share: Share = WHOLE) -> dict[str, Line]:
    """Train what is missing of a share of the cells; returns all lines."""
    lines = bench.lines()
    missing = [cell for cell in cells_of_share(share, cells_of(bench.grid)) if cell.key not in lines]
    for number, cell in enumerate(missing, start=1):
        started = time.monotonic()
        line = run_cell(bench, cell)
        bench.keep({**line, "seconds": round(time.monotonic() - started, 1)})
        outcome = "pruned" if line["pruned"] else f"{line['top1_validation']:.2f} %"
        say(f"{number}/{len(missing)} {_name(cell)}: {outcome}")
    return bench.lines()


def run_cell(bench: Bench, cell: Cell) -> Line:
    """The line of one cell."""
    line: Line = {
        "cell": cell.key,
        **cell.factors,
        "epochs": cell.recipe.train.qat_phase.epochs,
        "float_epochs": cell.recipe.train.float_phase.epochs,
        "pruned": False,
        "data_sha256": bench.dataset.sha256,
        "dataset_notes": list(bench.dataset.notes),
        "commit": git_commit(),
        "tool_versions": {"python": platform.python_version(), "torch": torch.__version__},
        "command": "python -m benchmarks.accuracy",
    }
    try:
        folder = train_float(bench, cell)
        line["top1_float"] = read_manifest(folder).metrics["validation"]["float_train"]["top1"]
        line |= float_facts(load_network(folder, "float"))
        line["top1_validation"] = measure(bench, cell, *validation_split(bench, cell.recipe))
    except (CellPruned, TrainingDiverged) as reason:  # a diverged cell is a result too, and must not stop the others
        line |= {"pruned": True, "pruned_reason": str(reason)}
    return line


def train_float(bench: Bench, cell: Cell) -> Path:
    """The folder of the cell's float net, trained once for all cells that share it."""
    folder = bench.work / f"float-{cell.float_key[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / PRUNED_FILE).is_file():
        raise CellPruned(json.loads((folder / PRUNED_FILE).read_text())["reason"])
    phases = cell.recipe.train.model_copy(update={"qat_phase": QatPhaseConfig(epochs=0)})
    lowest = bench.grid.prune.times_chance * 100 / len(bench.dataset.class_names)
    try:
        _train(bench, cell.recipe.model_copy(update={"train": phases}), folder, cell.float_key, lowest, "float")
    except CellPruned as reason:
        write_json(folder / PRUNED_FILE, {"reason": str(reason)})
        raise
    return folder


def train_quantized(bench: Bench, cell: Cell) -> Path:
    """The folder of the cell's QAT net."""
    source = train_float(bench, cell)
    folder = bench.work / f"cell-{cell.key[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    lowest = read_manifest(source).metrics["validation"]["float_train"]["top1"] - bench.grid.prune.below_float
    _train(bench, cell.recipe, folder, cell.key, lowest, "qat", float_from=source)
    return folder


def _train(
    bench: Bench,
    recipe: TrainingRecipe,
    folder: Path,
    key: str,
    lowest: float,
    phase: str,
    *,
    float_from: Path | None = None,
) -> None:
    config: PhaseConfig = recipe.train.float_phase if phase == "float" else recipe.train.qat_phase

    def watch(facts: dict[str, Any]) -> None:
        epoch, found = facts["epoch"], facts["validation_top1"]
        if facts["phase"] == phase and epoch == bench.grid.prune.after_epochs < config.epochs and found < lowest:
            raise CellPruned(f"{phase} epoch {epoch}: validation {found:.2f} %, wanted at least {lowest:.2f} %")

    train_model(
        recipe,
        folder,
        key=key,
        recipe_sha256=key,
        data_dir=bench.data_dir,
        device=bench.device,
        resume=True,
        quiet=True,
        float_from=float_from,
        measure_test=False,
        watch=watch,
    )


def measure(bench: Bench, cell: Cell, images: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy in percent of the quantized net: fake-quantized after QAT, the integer model after PTQ."""
    if cell.recipe.train.qat_phase.epochs:
        network = load_network(train_quantized(bench, cell), "qat")
        if cell.recipe.quantize.weights.method == "none":
            network.logits_scale.zero_()  # the float reference's logits are not rounded to int8 either
        return _top1(network, images, labels)
    network = load_network(train_float(bench, cell), "float")
    merged = merge_network(network, bench.dataset.input_hwc)
    # no image on which the cell is measured
    calibration = bench.dataset.train_images[_split(bench, cell.recipe)[0][:CALIBRATION_IMAGES]]
    if cell.recipe.quantize.post_training.diagonal_split:  # fake-quantized: the integer model has no such layer
        logits = split_logits(merged, cell.recipe.quantize, calibration, images)
        return 100.0 * float((logits.argmax(axis=1) == labels).mean())
    model = lower_float(merged, cell.recipe.quantize, calibration, bench.dataset.class_names)
    return reference.top1(reference.run(model, images), labels)


def _top1(network: RepVGG, images: np.ndarray, labels: np.ndarray) -> float:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W), channels last
    return top1(network.to(memory_format=torch.channels_last), pixels, torch.from_numpy(labels.astype(np.int64)))


def validation_split(bench: Bench, recipe: TrainingRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) and labels of the recipe's validation split."""
    _, chosen = _split(bench, recipe)
    return bench.dataset.train_images[chosen], bench.dataset.train_labels[chosen]


def _split(bench: Bench, recipe: TrainingRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the validation images."""
    return split_validation(bench.dataset.train_labels, share=recipe.data.validation_share, seed=recipe.seed)


def measure_test(bench: Bench, wanted: dict[str, str], *, say: Callable[[str], None]) -> dict[str, Line]:
    """Add `top1_test` and `top1_float_test` to the finished cells whose factors match; returns all lines."""
    lines, images, labels = bench.lines(), bench.dataset.test_images, bench.dataset.test_labels
    float_nets: dict[str, float] = {}
    for cell in cells_of(bench.grid):
        line = lines.get(cell.key)
        matches = all(str(cell.factors.get(factor)) == value for factor, value in wanted.items())
        if line is None or line["pruned"] or {"top1_test", "top1_float_test"} <= set(line) or not matches:
            continue
        if cell.float_key not in float_nets:
            float_nets[cell.float_key] = _top1(load_network(train_float(bench, cell), "float"), images, labels)
        facts = {"top1_test": measure(bench, cell, images, labels), "top1_float_test": float_nets[cell.float_key]}
        line |= facts
        bench.change(cell.key, facts)
        say(f"{_name(cell)}: test {line['top1_test']:.2f} %, its float net {line['top1_float_test']:.2f} %")
    return lines


def refresh_facts(bench: Bench) -> dict[str, Line]:
    """Measure the kernels of every kept float net again and put that into the lines; returns all lines."""
    for cell in cells_of(bench.grid):
        folder = bench.work / f"float-{cell.float_key[:16]}"
        if cell.key in bench.lines() and (folder / "float.safetensors").is_file():
            bench.change(cell.key, float_facts(load_network(folder, "float")))
    return bench.lines()


def _name(cell: Cell) -> str:
    return " ".join(str(value) for value in cell.factors.values())


def state_work(bench: Bench) -> str:
    """How many cells are missing and how many hours they will take on this machine."""
    cells, lines = cells_of(bench.grid), bench.lines()
    missing = [cell for cell in cells if cell.key not in lines]
    hours = seconds_of(missing, bench.dataset, device=bench.device) / 3600
    done = len(cells) - len(missing)
    return f"{len(cells)} cells, {done} finished, {len(missing)} to do: about {hours:.2g} hours of one process on this machine"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, default=HERE / "accuracy_grid.yaml")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "accuracy.jsonl")
    parser.add_argument("--tables", type=Path, default=HERE / "ACCURACY.md")
    parser.add_argument("--work", type=Path, default=Path("runs") / "accuracy", help="checkpoints and resume states")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only-state", action="store_true", help="state the hours and stop")
    parser.add_argument(
        "--only-tables", action="store_true", help="write the tables from the results file; no data needed"
    )
    parser.add_argument("--test", nargs="+", metavar="factor=value", help="measure the test split of matching cells")
    parser.add_argument(
        "--facts", action="store_true", help="measure the kept float nets' kernels again; trains nothing"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes that share the cells (give the recipe's threads to each)"
    )
    parser.add_argument("--share", type=Share.parse, default=WHOLE, metavar="K/N", help="only this share of the cells")
    options = parser.parse_args(arguments)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        grid = load_grid(options.grid)
        if options.only_tables:
            if not options.results.is_file():
                raise ConfigError(f"{options.results}: no results file; run the cells first or name one with --results")
            write_tables(options.tables, grid, ResultsFile(options.results, options.work / "results.lock").lines())
            print(f"wrote {options.tables}")
            return 0
        dataset = load_dataset(cells_of(grid)[0].recipe.data, options.data_dir)
        bench = Bench(grid, options.results, options.work, dataset, options.data_dir, options.device)
        if options.test:
            lines = measure_test(bench, dict(item.split("=", 1) for item in options.test), say=say)
        elif options.facts:
            lines = refresh_facts(bench)
        else:
            if options.share == WHOLE:
                say(state_work(bench))
            if options.only_state:
                return 0
            if options.jobs > 1:
                run_jobs("benchmarks.accuracy", sys.argv[1:] if arguments is None else arguments, options.jobs)
            lines = run_bench(bench, say=say, share=options.share)
            if options.share != WHOLE:
                return 0  # the tables are written once, by the process that waits for all
        write_tables(options.tables, grid, lines)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {options.results} and {options.tables}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
