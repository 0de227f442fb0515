"""What convert and report read of a training: the run's own, the model it starts from, or a checkpoint from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from repedge.run import Run
from repedge.stages import run_stage, source_hash, stage_key
from train.artefact import MANIFEST_NAME, Manifest, read_manifest, sha256_file, write_manifest
from train.checkpoint import MODEL_FILE, ModelDescription, save_description, save_network
from train.config import NormConfig
from train.errors import ConfigError
from train.foreign import fold_normalisation, load_foreign
from train.zoo import training_folder


def source_of(run: Run, checkpoint: Path | None) -> Path:
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


def training_facts(run: Run) -> Manifest:
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
