"""`repedge zoo`: the models that come with RepEdge, and a run folder made of one of them."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from repedge.recipe import load_recipe
from repedge.stages import RECIPE_FILE, check_run_folder, claim_run_folder, finished, fresh_folder, stage_key
from train.artefact import Manifest, read_manifest, write_manifest
from train.config import TrainingRecipe
from train.errors import ConfigError
from train.zoo import find_model, load_index, model_folder


def zoo_key(training: TrainingRecipe, data_sha256: str) -> str:
    """Key of a training stage that came from the zoo: it stays finished whatever the source of `train/` says today."""
    return stage_key(stage="train", zoo=True, recipe=training.model_dump(mode="json"), data=data_sha256)


def print_models(*, as_json: bool) -> int:
    """One row per model."""
    index = load_index()
    if as_json:
        print(index.model_dump_json(indent=2))
        return 0
    table = Table("name", "test %", "float %", "weights B", "MMAC", "seed")
    for column in table.columns[1:]:
        column.justify = "right"
    for model in index.models:
        size = "" if model.weight_bytes is None else f"{model.weight_bytes:,}"
        accuracy = f"{model.top1_test:.2f}", f"{model.top1_float:.2f}"
        table.add_row(model.name, *accuracy, size, f"{model.macs / 1e6:.2f}", str(model.seed))
    Console().print(table)
    if not index.models:
        print("no models yet")
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Make the run folder and say how to go on."""
    folder = options.out or Path("runs") / options.name
    manifest = make_run_folder(options.name, folder, force=options.force)
    if options.json:
        print(json.dumps({"run": str(folder), "files": sorted(manifest.files), "metrics": manifest.metrics}, indent=2))
    else:
        recipe = folder / RECIPE_FILE
        print(f"wrote {folder} with its training finished; next: repedge run {recipe} --out {folder}")
    return 0


def make_run_folder(name: str, folder: Path, *, force: bool = False) -> Manifest:
    """A run folder whose training stage is the zoo's model, finished; what another run left there goes."""
    source, model = model_folder(name), find_model(name)
    recipe = load_recipe(source / RECIPE_FILE)
    run = check_run_folder(folder, recipe.name, force=force)
    theirs, key = read_manifest(source, verify=True), zoo_key(recipe.training(), model.data_sha256)
    if run.train.exists() and not force and finished(run.train, key) is None:
        raise ConfigError(f"{run.train}: holds another training; give another folder, or --force to replace it")
    claim_run_folder(run, recipe.name, recipe.to_yaml())
    with fresh_folder(run.train) as partial:
        for file in theirs.files:
            shutil.copyfile(source / file, partial / file)
        return write_manifest(
            partial,
            stage="train",
            key=key,
            recipe_sha256=recipe.sha256(),
            metrics=theirs.metrics,
            tool_versions=theirs.tool_versions,
        )
