"""Trains the quantized variants of float nets, side by side, and puts them into the zoo.

    python -m benchmarks.zoo_train --from zoo:cifar10-xs-float [zoo:NAME | RUN ...] [--variants w8a8,w4a8,w3a8,w2a8,w4a4]
                                   [--jobs N] [--restart] [--add [--replace]] [--only-recipes] [--settings FILE] …

Each variant is one recipe, generated from the float net's own and `benchmarks/zoo_train.yaml`, and one `repedge train`
in RUNS/<name>, its output in RUNS/<name>.log. The same command goes on where it was interrupted and leaves finished
trainings alone; after a change of `train/` what is half done has to begin again (`--restart`). `--add` puts what is
finished into the zoo; a model of that name is replaced with `--replace` only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.grid_file import read_grid
from benchmarks.zoo_add import NAME, add_run
from repedge.recipe import Recipe, load_recipe
from repedge.stages import RECIPE_FILE
from train.artefact import read_manifest, write_text
from train.config import Section
from train.errors import ConfigError, PipelineError, ToolFailed
from train.zoo import PREFIX, ZOO, load_index, training_folder

SETTINGS = Path(__file__).with_name("zoo_train.yaml")
LOG_TAIL = 12  # lines of a failed training that the error repeats
Keys = dict[str, Any]  # recipe key -> value


class Settings(Section):
    """How variants are trained, a later section over an earlier one; `variants` also says which there are."""

    base: Keys = {}
    sizes: dict[str, Keys] = {}
    variants: dict[str, Keys] = Field(min_length=1)
    nets: dict[str, Keys] = Field({}, description="<size>-<variant>: what one net has for itself, over its variant")


@dataclass(frozen=True)
class Job:
    """One variant to train."""

    name: str
    recipe: Recipe
    runs: Path

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.runs / self.name

    @property
    def log(self) -> Path:
        """What its training printed."""
        return self.runs / f"{self.name}.log"


def load_settings(path: Path) -> Settings:
    """Read and check the settings."""
    return read_grid(path, Settings, example="benchmarks/zoo_train.yaml", called="settings")


def make_job(source: str, variant: str, settings: Settings, runs: Path) -> Job:
    """The job of one float net and one variant."""
    if variant not in settings.variants:
        raise ConfigError(f"variant {variant}: not in the settings, allowed are {', '.join(settings.variants)}; add it")
    path = recipe_path(source)
    ours = load_recipe(path)
    size, name = variant_name(source, variant, ours)
    match = NAME.fullmatch(name)
    if match is None or match["weights"] is None:
        raise ConfigError(f"variant {variant}: allowed is w<bits>a<bits>, for example w4a8")
    keys: Keys = {
        "name": name,
        "train": {"start_from": source, "threads": ours.train.threads},  # nothing else of the float training stays
        **settings.base,
        **settings.sizes.get(size, {}),
        **settings.variants[variant],
        **settings.nets.get(f"{size}-{variant}", {}),
        "quantize.weights.bit_width": int(match["weights"]),
        "quantize.activations.bit_width": int(match["activations"]),
    }
    # a section before the keys inside it, whatever the order of the file
    ordered = sorted(keys.items(), key=lambda item: item[0].count("."))
    return Job(name, load_recipe(path, [f"{key}={json.dumps(value)}" for key, value in ordered]), runs)


def recipe_path(source: str) -> Path:
    """The recipe of a zoo model or of a run folder."""
    folder = training_folder(source)
    return (folder if source.startswith(PREFIX) else folder.parent) / RECIPE_FILE


def variant_name(source: str, variant: str, recipe: Recipe) -> tuple[str, str]:
    """(size, name in the zoo) of a variant: the float net's name with `float` replaced, or made of the run's recipe."""
    if not source.startswith(PREFIX):
        size = recipe.model.size
        if size is None:
            raise ConfigError(f"{source}: its model has no size to be named by; add it to the zoo and name it zoo:NAME")
        return size, f"{recipe.data.name}-{size}-{variant}"
    match = NAME.fullmatch(source.removeprefix(PREFIX))
    if match is None or match["weights"] is not None:
        raise ConfigError(f"{source}: not a float net, allowed is zoo:<data>-<size>-float[-variant]")
    return match["size"], f"{match['data']}-{match['size']}-{variant}{match['variant'] or ''}"


def train_all(jobs: Sequence[Job], parallel: int, arguments: Sequence[str]) -> dict[str, str]:
    """Train what is not finished, `parallel` at a time; returns what went wrong, by job."""
    with ThreadPoolExecutor(parallel) as pool:
        futures = {job.name: pool.submit(train_one, job, arguments) for job in jobs}
        try:
            found = {name: future.result() for name, future in futures.items()}
        except BaseException:  # an interruption reaches the trainings under way too; the others must not begin
            pool.shutdown(cancel_futures=True)
            raise
    return {name: failure for name, failure in found.items() if failure is not None}


def train_one(job: Job, arguments: Sequence[str]) -> str | None:
    """One `repedge train`; returns the end of its log where it failed."""
    path = job.runs / f"{job.name}.yaml"
    write_text(path, job.recipe.to_yaml())
    command = [sys.executable, "-m", "repedge.cli", "train", str(path), "--out", str(job.run), *arguments]
    _say(f"{job.name}: training, see {job.log}")
    code = run_logged(command, job.log)
    if code == 0:
        _say(f"{job.name}: finished")
        return None
    tail = "\n".join(job.log.read_text().splitlines()[-LOG_TAIL:])
    return f"{job.name}: repedge train ended with exit code {code}, allowed is 0; the end of {job.log}:\n{tail}"


def run_logged(command: list[str], log: Path) -> int:
    """Exit code of a command whose output goes to the end of a log file."""
    with log.open("a") as handle:
        return subprocess.run(command, stdout=handle, stderr=handle).returncode


def add_finished(jobs: Sequence[Job], zoo: Path, *, replace: bool) -> None:
    """Put finished trainings into the zoo; without `replace` models that it already holds stay as they are."""
    held = {model.name for model in load_index(zoo).models}
    for job in jobs:
        if job.name in held and not replace:
            _say(f"{job.name}: the zoo holds one already, kept; --replace replaces it")
        else:
            entry = add_run(job.run, job.name, zoo=zoo, force=replace)
            _say(f"{job.name}: added, test {entry.top1_test:.2f} %, {entry.weight_bytes:,} bytes of weights")


def summary(jobs: Sequence[Job]) -> str:
    """One line per trained variant: float → quantized accuracy on the validation split, then on the test split."""
    rows = [f"{'name':28} {'validation':>22} {'test':>22}"]
    for job in jobs:
        metrics = read_manifest(job.run / "train").metrics
        pairs = [_pair(metrics.get(split, {})) for split in ("validation", "accuracy")]
        rows.append(f"{job.name:28} {pairs[0]:>22} {pairs[1]:>22}")
    return "\n".join(rows)


def _pair(found: dict[str, Any]) -> str:
    values = [found.get(name, {}).get("top1") for name in ("float_train", "qat")]
    return " → ".join("–" if value is None else f"{value:.2f}" for value in values)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo_train", description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="sources", nargs="+", required=True, metavar="SOURCE", help="zoo:NAME or a run")
    parser.add_argument("--variants", help="comma-separated; default: all of the settings")
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "zoo", help="run folders, recipes and logs")
    parser.add_argument("--only-recipes", action="store_true", help="write the recipes and stop")
    parser.add_argument("--add", action="store_true", help="put what is finished into the zoo")
    parser.add_argument("--replace", action="store_true", help="with --add: also where the zoo holds that name already")
    parser.add_argument("--restart", action="store_true", help="begin interrupted trainings again instead of resuming")
    parser.add_argument("--zoo", type=Path, default=ZOO)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.settings)
        variants = options.variants.split(",") if options.variants else list(settings.variants)
        jobs = [make_job(source, name, settings, options.runs) for source in options.sources for name in variants]
        options.runs.mkdir(parents=True, exist_ok=True)
        if options.only_recipes:
            for job in jobs:
                write_text(options.runs / f"{job.name}.yaml", job.recipe.to_yaml())
            print(f"wrote {len(jobs)} recipes to {options.runs}")
            return 0
        passed_on = ["--force" if options.restart else "--resume", "--device", options.device]
        passed_on += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        failures = train_all(jobs, options.jobs, passed_on)
        trained = [job for job in jobs if job.name not in failures]
        if options.add:
            add_finished(trained, options.zoo, replace=options.replace)
        print(summary(trained))
        if failures:
            raise ToolFailed("\n".join(failures.values()))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
