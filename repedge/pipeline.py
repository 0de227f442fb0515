"""Training, conversion and deployment as stages: what each reads, depends on and writes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.backends import AARCH64, HOST, check_ram_limit, run_baselines, run_host, run_target
from deploy.result import BackendResult, ConvertedModel, load_converted, save_results
from deploy.targets import load_target
from repedge.doctor import tool_versions
from repedge.recipe import Recipe
from repedge.run import Run
from repedge.sources import checkpoint_hashes, source_of
from repedge.stages import finished, run_stage, source_hash, stage_key
from repedge.tuning import target_schedules, tune_target
from repedge.zoo import zoo_key
from train.artefact import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from train.dataset import load_dataset
from train.errors import ConfigError
from train.resume import RESUME_FILE
from train.zoo import source_hashes

CALIBRATION_IMAGES = 1024


def train_stage(run: Run) -> Manifest:
    """Train, unless a finished training of the same recipe, data and source is there."""
    from train.loop import train_model

    dataset = run.dataset
    run.claim()
    training = run.recipe.training()
    if manifest := finished(run.folder.train, zoo_key(training, dataset.sha256)):
        run.progress.say("  train    as the zoo holds it")
        return manifest
    key = stage_key(
        stage="train",
        recipe=training.model_dump(mode="json"),
        sources={source: source_hashes(source) for source in training.sources()},
        data=dataset.sha256,
        source=source_hash("train"),
        device=run.device,
    )
    manifest = finished(run.folder.train, key)
    if manifest:
        run.progress.say("  train    up to date")
        return manifest
    partial = run.folder.path / ".train.partial"
    _claim_partial(partial, run)
    manifest = train_model(
        training,
        partial,
        key=key,
        recipe_sha256=run.recipe.sha256(),
        data_dir=run.data_dir,
        device=run.device,
        resume=run.resume,
        quiet=run.progress.quiet,
    )
    shutil.rmtree(run.folder.train, ignore_errors=True)
    partial.rename(run.folder.train)
    return manifest


def _claim_partial(partial: Path, run: Run) -> None:
    """An interrupted training is only continued or thrown away on request; one that kept no epoch is nothing to lose."""
    if not partial.exists() or run.resume:
        return
    if run.force or not any((partial / name).is_file() for name in (RESUME_FILE, MANIFEST_NAME)):
        shutil.rmtree(partial)
    else:
        raise ConfigError(
            f"{partial}: an interrupted training run; add --resume to go on with it, or --force to start again"
        )


def convert_stage(run: Run, checkpoint: Path | None = None) -> Manifest:
    """Merge, lower, write and read back every format."""
    from convert.stage import convert_checkpoint

    dataset = run.dataset
    source = source_of(run, checkpoint or run.recipe.checkpoint.file)
    checkpoints = checkpoint_hashes(source, foreign=checkpoint is not None)
    run.claim()
    key = stage_key(
        stage="convert",
        checkpoints=checkpoints,
        data=dataset.sha256,
        quantize=run.recipe.quantize.model_dump(mode="json"),
        source=source_hash("convert", "train"),
    )

    def work(folder: Path) -> Manifest:
        metrics = convert_checkpoint(
            source,
            folder,
            test_images=dataset.test_images,
            test_labels=dataset.test_labels,
            calibration_images=dataset.train_images[:CALIBRATION_IMAGES],
            quantize=run.recipe.quantize,
            step=lambda what: run.progress.step("convert", what),
        )
        return write_manifest(
            folder,
            stage="convert",
            key=key,
            recipe_sha256=run.recipe.sha256(),
            metrics=metrics,
            tool_versions=tool_versions(),
        )

    manifest, redone = run_stage(run.folder.convert, key, work)
    if not redone:
        run.progress.say("  convert  up to date")
    return manifest


def deploy_stage(run: Run, targets: Sequence[str] | None = None, *, tune_minutes: float | None = None) -> None:
    """Build, run and profile the host back ends and every target; one folder each.

    With `tune_minutes`, first search the schedules of each ARM Linux target for that long at most.
    """
    names = tuple(targets or run.recipe.deploy.targets)
    for name in names:
        load_target(name)  # a misspelt target must not surface after minutes of work
    if not run.folder.convert.is_dir():
        raise ConfigError(
            f"{run.folder.convert}: not converted yet; run repedge convert with this recipe and --out first, "
            "or repedge run, which does every stage"
        )
    manifest = read_manifest(run.folder.convert, verify=True)
    run.claim()
    converted = load_converted(run.folder.convert)
    for name in names:
        check_ram_limit(converted.model, load_target(name), run.recipe.deploy.ram_limit)
    for name in names if tune_minutes is not None else ():
        tune_target(name, converted, run.folder.tuning(name), minutes=tune_minutes or 0.0, say=run.progress.say)
    for name in (HOST, *names):
        _deploy_one(run, name, converted, manifest)


def target_options(recipe: Recipe, name: str) -> dict[str, Any]:
    """What the recipe says of one target's build: images to run, what kernels are chosen for, the limit and the budget on RAM."""
    limits = recipe.budget.targets.get(load_target(name).name)
    return {
        "images": recipe.deploy.emulated_images,
        "prefer": recipe.deploy.prefer,
        "ram_limit_bytes": recipe.deploy.ram_limit,
        "ram_budget_bytes": limits.ram_limit_bytes if limits else None,
    }


def host_options(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says of the host's back ends; the number of emulated images only where one is emulated."""
    options: dict[str, Any] = {"runtimes": recipe.deploy.runtimes}
    if AARCH64 in recipe.deploy.runtimes:
        options["emulated_images"] = recipe.deploy.emulated_images
    return options


def _deploy_one(run: Run, name: str, converted: ConvertedModel, manifest: Manifest) -> None:
    options = host_options(run.recipe) if name == HOST else target_options(run.recipe, name)
    tuned = {} if name == HOST else target_schedules(name, converted, run.folder.tuning(name))
    key = stage_key(
        stage="deploy",
        target=name if name == HOST else load_target(name).model_dump(mode="json"),
        options=options,
        schedules={layer: asdict(schedule) for layer, schedule in tuned.items()},
        baselines=run.recipe.deploy.baselines if name == HOST else None,
        converted={file: entry.sha256 for file, entry in manifest.files.items()},
        source=source_hash("deploy", "firmware_stub", "convert"),
    )

    def work(folder: Path) -> Manifest:
        with run.progress.step("deploy", Path(name).stem):
            if name == HOST:
                results = [*run_host(converted, folder, **options), *_run_baselines(run, converted, folder)]
            else:
                results = run_target(converted, load_target(name), folder, tuned=tuned, **options)
        save_results(results, folder)
        return write_manifest(folder, stage="deploy", key=key, recipe_sha256=run.recipe.sha256())

    _, redone = run_stage(run.folder.deploy(name), key, work)
    if not redone:
        run.progress.say(f"  deploy   {Path(name).stem} up to date")


def _run_baselines(run: Run, converted: ConvertedModel, folder: Path) -> list[BackendResult]:
    """The recipe's baselines; the training images they are calibrated with are only loaded where there are any."""
    names = run.recipe.deploy.baselines
    if not names:
        return []
    images = load_dataset(run.recipe.data, run.data_dir).train_images[:CALIBRATION_IMAGES]
    return run_baselines(converted, folder, names, calibration_images=images)
