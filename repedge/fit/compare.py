"""Methods against each other at one budget: same float net, same epochs, same seed; one JSON line per trained cell.

Each seed has its own float net (the validation split depends on the seed), each method its own bits from it, each cell
the recipe's QAT. A finished cell is never trained again, and methods that choose the same bits share one training.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convert.stage import merge_and_lower
from repedge.fit.choose import Chosen, Method, Prepared, Settings, choose, prepare
from repedge.fit.nets import Net, Start
from repedge.fit.table import cost_of
from repedge.fit.target_fit import Request
from repedge.progress import Progress
from repedge.recipe import Recipe
from repedge.results_file import Line, ResultsFile
from repedge.stages import source_hash, stage_key
from train.artefact import read_manifest, sha256_json
from train.errors import BudgetExceeded, ConfigError, Mismatch
from train.loop import train_model

CELLS_FOLDER = "cells"
METHODS: tuple[Method, ...] = ("exact", "greedy", "cgmq", "uniform")
# 97.5 % quantile of Student's t by degrees of freedom; the normal's beyond
T_QUANTILE = [math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
NORMAL_QUANTILE = 1.96


@dataclass(frozen=True)
class Comparison:
    """Where cells are trained and their lines kept."""

    start: Start
    results: ResultsFile
    request: Request
    settings: Settings
    progress: Progress
    tags: dict[str, Any]  # what else a line says of its cell, part of its identity
    notes: dict[str, Any] = field(default_factory=dict)  # provenance, no part of it

    def run(self, net_of_seed: Callable[[int], Net], methods: Sequence[Method], seeds: Sequence[int]) -> list[Line]:
        """The lines of all cells of this comparison, the missing ones trained now."""
        found = []
        for seed in seeds:
            prepared: Prepared | None = None
            net = net_of_seed(seed)
            for method in methods:
                key = self._key(net, method)
                line = self.results.lines().get(key)
                if line is None:
                    prepared = prepared or prepare(net, self.request, self.settings, self.start.work, self.progress)
                    line = {"cell": key, **self.tags, "method": method, "seed": seed, **self._measure(prepared, method)}
                    line |= self.notes
                    self.results.keep(line)
                found.append(line)
                self.progress.say(f"  fit      {method} seed {seed}: {_outcome(line)}")
        return found

    def _key(self, net: Net, method: Method) -> str:
        """Hash of all that the cell's result depends on."""
        settings = replace(self.settings, method=method)
        asked = str(vars(self.request))
        return sha256_json(
            [self.tags, net.recipe.training().model_dump(mode="json"), net.sha256, vars(settings), asked]
        )

    def _measure(self, prepared: Prepared, method: Method) -> Line:
        """Choose, train, read the validation accuracy."""
        if not prepared.net.recipe.train.qat_phase.epochs:
            raise ConfigError(
                f"{prepared.net.recipe.name}: train.qat_phase.epochs 0, allowed are 1 and more, as methods are compared after QAT"
            )
        try:
            chosen = choose(prepared, self.request, replace(self.settings, method=method))
        except BudgetExceeded as reason:
            return {"infeasible": str(reason)}
        folder = self._train(chosen)
        metrics = read_manifest(folder).metrics["validation"]
        return {
            "bits": chosen.solution.bits,
            "weight_bytes": encoded_as_chosen(folder, chosen),
            "training": folder.name,
            "joint_loss": chosen.joint,
            "epochs": prepared.net.recipe.train.qat_phase.epochs,
            "float_epochs": prepared.net.recipe.train.float_phase.epochs,
            "top1_float": metrics["float_train"]["top1"],
            "top1_validation": metrics["qat"]["top1"],
        }

    def _train(self, chosen: Chosen) -> Path:
        """The folder of a finished QAT with these bits."""
        recipe = with_bits(chosen.net.recipe, chosen.solution.bits)
        training = recipe.training()
        key = stage_key(
            stage="fit compare",
            recipe=training.model_dump(mode="json"),
            float_from=chosen.net.sha256,
            source=source_hash("train"),
            device=self.start.device,
        )
        folder = self.start.work / CELLS_FOLDER / key[:16]
        train_model(
            training,
            folder,
            key=key,
            recipe_sha256=recipe.sha256(),
            data_dir=self.start.data_dir,
            device=self.start.device,
            resume=True,
            quiet=self.progress.quiet,
            float_from=chosen.net.folder,
            measure_test=False,
        )
        return folder


def encoded_as_chosen(folder: Path, chosen: Chosen) -> int:
    """Bytes of the trained net as the encoder writes it; they must be those that were chosen."""
    found = merge_and_lower(folder, chosen.net.recipe.quantize).model.weight_bytes
    expected = cost_of(chosen.solution.allocation).weight_bytes
    if found != expected:
        raise Mismatch(
            f"{folder}: the trained net takes {found:,} B of weights, {expected:,} B were chosen; report it as a bug"
        )
    return found


def with_bits(recipe: Recipe, bits: dict[str, int]) -> Recipe:
    """The recipe with a bit width per layer; its float net is handed over apart."""
    train = recipe.train.model_copy(update={"start_from": None, "continue_from": None})
    weights = recipe.quantize.weights.model_copy(update={"layers": dict(bits)})
    quantize = recipe.quantize.model_copy(update={"weights": weights})
    return recipe.model_copy(update={"train": train, "quantize": quantize})


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The recipe of another seed, under another name: its float net is another one, trained from scratch."""
    train = recipe.train.model_copy(update={"start_from": None, "continue_from": None})
    return recipe.model_copy(update={"seed": seed, "name": f"{recipe.name}-seed{seed}", "train": train})


def summary(lines: Sequence[Line], figure: str = "top1_validation") -> list[dict[str, Any]]:
    """Per method: accuracies, and what exact is ahead, paired by seed; each (mean, half of the 95 % interval)."""
    trained = [line for line in lines if figure in line]
    exact = {line["seed"]: line[figure] for line in trained if line["method"] == "exact"}
    rows = []
    for method in dict.fromkeys(line["method"] for line in lines):
        own = {line["seed"]: line for line in trained if line["method"] == method}
        ahead = [exact[seed] - line[figure] for seed, line in own.items() if seed in exact]
        rows.append(
            {
                "method": method,
                "seeds": sorted(own),
                "weight_bytes": sorted({line["weight_bytes"] for line in own.values()}),
                figure: interval([line[figure] for line in own.values()]),
                "exact_ahead": None if method == "exact" else interval(ahead),
            }
        )
    return rows


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """(mean, half of the 95 % interval by Student's t); None for what too few values cannot tell.

    >>> interval([1.0, 2.0, 3.0])
    (2.0, 2.48)
    """
    if not values:
        return None, None
    if len(values) == 1:
        return values[0], None
    freedom = len(values) - 1
    quantile = T_QUANTILE[freedom] if freedom < len(T_QUANTILE) else NORMAL_QUANTILE
    return round(statistics.fmean(values), 3), round(quantile * statistics.stdev(values) / math.sqrt(len(values)), 2)


def interval_text(found: tuple[float | None, float | None] | None, *, sign: bool = False) -> str:
    """`91.20 ± 0.31`, `91.20`, or nothing."""
    if found is None or found[0] is None:
        return ""
    mean = f"{found[0]:{'+' if sign else ''}.2f}"
    return mean if found[1] is None else f"{mean} ± {found[1]:.2f}"


def _outcome(line: Line) -> str:
    if "infeasible" in line:
        return "does not fit"
    return f"{line['top1_validation']:.2f} % of the validation images, {line['weight_bytes']:,} B"
