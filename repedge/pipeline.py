"""What each stage reads, depends on and writes: the four stages of a run, on top of the stage runner."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.backends import AARCH64, HOST, check_ram_limit, run_baselines, run_host, run_target
from deploy.report_data import RunFacts, build_report
from deploy.report_html import write_html
from deploy.report_schema import write_report
from deploy.report_text import render_markdown
from deploy.result import BackendResult, ConvertedModel, load_converted, load_results, save_results
from deploy.targets import load_target
from repedge.doctor import tool_versions
from repedge.neighbours import Others, named_runs, runs_beside
from repedge.progress import Progress
from repedge.recipe import Recipe
from repedge.stages import ROOT, RunFolder, claim_run_folder, finished, run_stage, source_hash, stage_key
from repedge.tuning import target_schedules, tune_target
from repedge.zoo import zoo_key
from train.artefact import MANIFEST_NAME, Manifest, read_manifest, sha256_file, write_manifest, write_text
from train.checkpoint import MODEL_FILE, ModelDescription, save_description, save_network
from train.config import NormConfig
from train.dataset import Dataset, load_dataset
from train.errors import ArtefactError, ConfigError
from train.foreign import fold_normalisation, load_foreign
from train.zoo import source_hashes, training_folder

CALIBRATION_IMAGES = 1024


@dataclass(frozen=True)
class Run:
    """One invocation: the recipe, its folder and the flags that change per run."""

    recipe: Recipe
    folder: RunFolder
    data_dir: Path | None
    device: str
    resume: bool
    force: bool
    progress: Progress

    @cached_property
    def dataset(self) -> Dataset:
        """The recipe's data set, read once for all stages."""
        return load_dataset(self.recipe.data, self.data_dir)

    def claim(self) -> None:
        """Take the folder; called once the inputs of the first stage were found good."""
        claim_run_folder(self.folder, self.recipe.name, self.recipe.to_yaml())


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
    """An interrupted training is only continued or thrown away on request."""
    if not partial.exists():
        return
    if run.force and not run.resume:
        shutil.rmtree(partial)
    elif not run.resume:
        raise ConfigError(
            f"{partial}: an interrupted training run; add --resume to go on with it, or --force to start again"
        )


def convert_stage(run: Run, checkpoint: Path | None = None) -> Manifest:
    """Merge, lower, write and read back every format."""
    from convert.stage import convert_checkpoint

    dataset = run.dataset
    source = _source_of(run, checkpoint or run.recipe.checkpoint.file)
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


def _source_of(run: Run, checkpoint: Path | None) -> Path:
    """The training folder that convert reads: the run's own, another one, or a checkpoint file imported as one."""
    if checkpoint is None:
        return _training_of(run)
    if not checkpoint.is_file():
        return training_folder(str(checkpoint))
    dataset, config = run.dataset, run.recipe.checkpoint
    description = ModelDescription(
        class_names=dataset.class_names,
        input_hwc=dataset.input_hwc,
        model=run.recipe.model,
        norm=NormConfig(kind="bn"),
        quantize=run.recipe.quantize,
    )
    key = stage_key(
        stage="import",
        checkpoint=sha256_file(checkpoint),
        model=description.model_dump(mode="json"),
        normalisation=[config.input_mean, config.input_std],
        source=source_hash("train"),
    )

    def work(folder: Path) -> Manifest:
        network = load_foreign(checkpoint, description)
        if config.input_mean is not None and config.input_std is not None:
            fold_normalisation(network, config.input_mean, config.input_std)
        save_description(folder, description)
        save_network(folder, network)
        return write_manifest(folder, stage="import", key=key)

    run_stage(run.folder.imported, key, work)
    return run.folder.imported


def _training_of(run: Run) -> Path:
    """The run's own training folder, or, where nothing is to be trained, that of the model it starts from."""
    start, phases = run.recipe.train.start_from, run.recipe.train
    if start is None or (run.folder.train / MANIFEST_NAME).is_file():
        return run.folder.train
    if phases.qat_phase.epochs:
        raise ConfigError(
            f"{run.folder.train}: not trained yet, and train.qat_phase.epochs is {phases.qat_phase.epochs}; run "
            f"repedge train first, or set train.qat_phase.epochs=0 to convert {start} as it is"
        )
    return training_folder(start)


def checkpoint_hashes(source: Path, *, foreign: bool) -> dict[str, str]:
    """SHA-256 of a training folder's files; only a folder from elsewhere may come without a manifest."""
    if foreign and not (source / MANIFEST_NAME).is_file():
        names = [MODEL_FILE, *(path.name for path in sorted(source.glob("*.safetensors")))]
        return {name: sha256_file(source / name) for name in names if (source / name).is_file()}
    files = read_manifest(source, verify=True).files
    return {name: entry.sha256 for name, entry in files.items() if name == MODEL_FILE or name.endswith(".safetensors")}


def _training_facts(run: Run) -> Manifest:
    """The training's manifest; for a checkpoint from elsewhere one that only knows the data set."""
    if (run.folder.train / MANIFEST_NAME).is_file():
        return read_manifest(run.folder.train)
    if run.recipe.train.start_from is not None and not run.recipe.train.qat_phase.epochs:
        return read_manifest(training_folder(run.recipe.train.start_from))
    dataset = run.dataset
    facts = {"name": dataset.name, "split_sizes": dataset.split_sizes, "sha256": dataset.sha256}
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Manifest(
        stage="train", key="checkpoint from elsewhere", created_utc=created, metrics={"accuracy": {}, "dataset": facts}
    )


def deploy_stage(run: Run, targets: Sequence[str] | None = None, *, tune_minutes: float | None = None) -> None:
    """Build, run and profile the host back ends and every target; one folder each.

    With `tune_minutes`, first search the schedules of each ARM Linux target for that long at most.
    """
    names = tuple(targets or run.recipe.deploy.targets)
    for name in names:
        load_target(name)  # a misspelt target must not surface after minutes of work
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


def report_stage(run: Run, targets: Sequence[str] | None = None, others: Sequence[Path] = ()) -> dict[str, Any]:
    """Assemble report.json, report.html and report.md from the stages' folders, budget included.

    `others` are run folders to compare with; without any, the finished runs of the same data beside this one.
    """
    names = [HOST, *(targets or run.recipe.deploy.targets)]
    missing = [name for name in names if not (run.folder.deploy(name) / "manifest.json").is_file()]
    if missing:
        raise ArtefactError(f"{run.folder.path}: no deploy result for {', '.join(missing)}; run the deploy stage first")
    backends = [result for name in names for result in load_results(run.folder.deploy(name))]
    recipe, training = run.recipe, _training_facts(run)
    compared, notices = _compared_runs(run, others, training)
    report = build_report(
        train=training,
        convert=read_manifest(run.folder.convert),
        convert_folder=run.folder.convert,
        backends=backends,
        budget=recipe.budget,
        facts=RunFacts(
            name=recipe.name,
            created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            recipe_sha256=recipe.sha256(),
            git_commit=git_commit(),
            seed=recipe.seed,
            recipe_yaml=recipe.to_yaml(),
            tool_versions=tool_versions(),
            targets=tuple(load_target(name) for name in names if name != HOST),
        ),
        others=compared,
    )
    report["notices"] += notices
    write_report(report, run.folder.path / "report.json")
    write_html(report, run.folder.path / "report.html")
    write_text(run.folder.path / "report.md", render_markdown(report))
    return report


def _compared_runs(run: Run, named: Sequence[Path], training: Manifest) -> tuple[Others, list[str]]:
    if named:
        return named_runs(named, run.folder.path), []
    return runs_beside(run.folder.path, training.metrics.get("dataset", {}).get("sha256"))


def git_commit() -> str:
    """The product's commit, with `-dirty` when its tree is changed; `unknown` outside a checkout."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return "unknown"
    result = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
    )
    return result.stdout.strip() or "unknown"
