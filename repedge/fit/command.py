"""The fit from start to end: nets, budget, choice, recipe and plot, QAT, comparison, and what the result really takes."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.kernels import Prefer
from deploy.config import BudgetConfig
from repedge.fit.choose import Chosen, Settings, choose, prepare, refuse_by_size
from repedge.fit.compare import METHODS, Comparison, summary, with_seed
from repedge.fit.facts import fit_facts
from repedge.fit.infeasible import Infeasible
from repedge.fit.nets import Net, Start, untrained
from repedge.fit.plot import write_plot
from repedge.fit.request import budget_of, fitted_recipe, request_of
from repedge.fit.show import print_fit
from repedge.fit.target_fit import Request
from repedge.fit.trained import train_and_check
from repedge.progress import Progress
from repedge.recipe import Recipe, check_recipe
from repedge.results_file import ResultsFile
from repedge.run import Run
from repedge.stages import RECIPE_FILE, RunFolder, check_run_folder, claim_run_folder
from train.artefact import write_json, write_text
from train.dataset import load_dataset
from train.errors import BudgetExceeded, ConfigError
from train.loop import check_device

WORK_NAME = "fit"  # inside the run's folder
FACTS_FILE = "fit.json"


def run_fit(options: argparse.Namespace) -> int:
    """The verb; 0 when the budget holds, 1 when it cannot or does not."""
    fit = _Fit(options)
    try:
        facts = fit.run()
    except Infeasible as reason:
        if not options.json:
            raise
        print(json.dumps({"feasible": False, "message": str(reason), **reason.facts}, indent=2))
        return reason.exit_code
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print_fit(facts, fit.folder.path)
    return 0 if facts.get("budget_after_training", {"passed": True})["passed"] else 1


class _Fit:
    """One invocation. What the flags and the first net's recipe say is checked before anything is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.progress = options, Progress(options.quiet)
        probe = self._start(Path())
        recipes = [probe.recipe_of(path) for path in options.nets]
        names = [recipe.name for recipe in recipes]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"nets {', '.join(names)}: two have one name, allowed are different ones; rename a recipe"
            )
        if options.epochs is not None and options.epochs < 0:
            raise ConfigError(f"--epochs {options.epochs}: allowed are 0 and more; 0 trains nothing")
        if options.compare and not self._with_epochs(recipes[0]).train.qat_phase.epochs:
            raise ConfigError(
                f"--compare: {names[0]} has train.qat_phase.epochs 0, allowed are 1 and more, as methods are compared after QAT; "
                "give --epochs N"
            )
        check_device(options.device)
        self.name = options.out.name if options.out else f"{names[0]}-fit"
        self.first: Recipe = recipes[0]
        self.budget: BudgetConfig = budget_of(options, self.first)
        self.request: Request = request_of(options, self.first, self.budget)
        self.settings = self._settings()
        self.folder: RunFolder = check_run_folder(
            options.out or Path("runs") / self.name, self.name, force=options.force
        )
        check_recipe(self._recipe(self.first, {}, None).model_dump(mode="json"), "of the fit")

    def _start(self, work: Path) -> Start:
        options = self.options
        return Start(
            work, tuple(options.set), options.data_dir, options.device, options.quiet, from_qat=options.from_qat
        )

    def _settings(self) -> Settings:
        options = self.options
        low, high = options.bits
        if not 2 <= low <= high <= 8:
            raise ConfigError(f"--bits {low} {high}: allowed are 2 to 8, the lower one first")
        if options.images < 1 or options.gate_steps < 1 or options.rounds < 0:
            raise ConfigError("--images, --gate-steps: allowed are 1 and more, --rounds: 0 and more")
        return Settings(
            method=options.method,
            lowest_bits=low,
            highest_bits=high,
            images=options.images,
            rounds=options.rounds,
            gate_steps=options.gate_steps,
            prefers=self._prefers(),
            any_prefer=options.prefer == "any",
        )

    def _prefers(self) -> tuple[Prefer, ...]:
        """The wanted preference alone; the recipe's first where none is asked for."""
        asked = self.options.prefer
        if asked in ("speed", "ram", "flash"):
            return (asked,)
        first = self.first.deploy.prefer
        everything: tuple[Prefer, ...] = ("speed", "ram", "flash")
        return (first, *(other for other in everything if other != first))

    @property
    def work(self) -> Path:
        """Checkpoints, measurements, plot and facts."""
        return self.folder.path / WORK_NAME

    def run(self) -> dict[str, Any]:
        """All steps; returns what fit.json holds."""
        if self.options.force:
            shutil.rmtree(self.work, ignore_errors=True)
        if self.options.force or not (self.folder.path / RECIPE_FILE).is_file():
            claim_run_folder(self.folder, self.name, self._recipe(self.first, {}, None).to_yaml())
        start = self._start(self.work)
        self._refuse_before_training()
        chosen = self._best([start.net(path) for path in self.options.nets])
        facts = fit_facts(chosen, self.settings, self.budget)
        recipe = self._recipe(chosen.net.recipe, chosen.solution.bits, chosen.solution.prefer, chosen.net.folder)
        write_text(self.folder.path / RECIPE_FILE, recipe.to_yaml())
        self._keep(facts)
        if self.options.compare:
            facts["comparison"] = self._compare(start, chosen.net)
            self._keep(facts)
        facts["qat_epochs"] = 0 if self.options.no_train else recipe.train.qat_phase.epochs
        if facts["qat_epochs"]:
            facts |= self._train(chosen, recipe)
        self._keep(facts)
        return facts

    def _refuse_before_training(self) -> None:
        """A lone net that no bits can make small enough is told at once, before its float net is trained."""
        if len(self.options.nets) == 1 and self.request.weight_bytes is not None:
            dataset = load_dataset(self.first.data, self.options.data_dir)
            per_channel = self.first.quantize.weights.per_channel_scale
            refuse_by_size(
                untrained(self.first, dataset), self.request, self.settings.lowest_bits, per_channel=per_channel
            )

    def _best(self, nets: list[Net]) -> Chosen:
        """The net of least expected loss among those that fit."""
        found: list[Chosen] = []
        refused: list[BudgetExceeded] = []
        for net in nets:
            try:
                prepared = prepare(net, self.request, self.settings, self.work, self.progress)
                found.append(choose(prepared, self.request, self.settings))
            except BudgetExceeded as reason:
                refused.append(reason)
                if len(nets) > 1:
                    self.progress.say(f"  fit      {net.recipe.name} does not fit: {reason}")
                continue
            if len(nets) > 1:
                self.progress.say(f"  fit      {net.recipe.name}: expected loss {found[-1].expected_loss:.4g} nats")
        if not found:
            raise min(refused, key=_smallest_feasible)
        return min(found, key=lambda chosen: chosen.expected_loss)

    def _recipe(self, recipe: Recipe, bits: dict[str, int], prefer: str | None, start: Path | None = None) -> Recipe:
        """The recipe to run; its training starts from the float net at `start`."""
        target = self.options.target or (self.request.target.name if self.request.target else None)
        fitted = fitted_recipe(recipe, name=self.name, bits=bits, budget=self.budget, target=target, prefer=prefer)
        if start is not None:
            sources = {"start_from": str(start), "continue_from": None}
            fitted = fitted.model_copy(update={"train": fitted.train.model_copy(update=sources)})
        return self._with_epochs(fitted)

    def _with_epochs(self, recipe: Recipe) -> Recipe:
        """The recipe with the asked number of QAT epochs."""
        if self.options.epochs is None:
            return recipe
        phase = recipe.train.qat_phase.model_copy(update={"epochs": self.options.epochs})
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"qat_phase": phase})})

    def _keep(self, facts: dict[str, Any]) -> None:
        write_json(self.work / FACTS_FILE, facts)
        write_json(self.work / "pareto.json", facts["points"])
        write_plot(facts, self.work)

    def _train(self, chosen: Chosen, recipe: Recipe) -> dict[str, Any]:
        """QAT as a train stage of the run's folder, then what the trained net takes."""
        options = self.options
        run = Run(
            recipe,
            self.folder,
            options.data_dir,
            options.device,
            resume=not options.force,
            force=options.force,
            progress=self.progress,
        )
        return train_and_check(run, chosen, self.request, self.work)

    def _compare(self, start: Start, net: Net) -> dict[str, Any]:
        """Every method trained at this budget."""
        net = replace(net, recipe=self._with_epochs(net.recipe))
        comparison = Comparison(
            start,
            ResultsFile(self.work / "compare.jsonl", self.work / "compare.lock"),
            self.request,
            self.settings,
            self.progress,
            {"net": net.recipe.name},
        )

        def of_seed(seed: int) -> Net:
            if seed == net.recipe.seed:
                return net
            return start.net_of(with_seed(net.recipe, seed))

        lines = comparison.run(of_seed, METHODS, self.options.seeds)
        return {"lines": lines, "summary": summary(lines)}


def _smallest_feasible(reason: BudgetExceeded) -> float:
    facts = reason.facts if isinstance(reason, Infeasible) else {}
    return float(facts.get("smallest_feasible", float("inf")))
