"""The training stage: float phase, then QAT phase, into an artefact folder.

The folder ends with float.safetensors, qat.safetensors (absent without a QAT phase), model.json, log.jsonl,
tensorboard/ and, last, manifest.json. Until then resume.safetensors holds the state after the last whole epoch.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.artefact import MANIFEST_NAME, Manifest, read_manifest, remove_temporaries, write_manifest
from train.augment import augment
from train.checkpoint import (
    INTEGER_MODEL_FILE,
    ModelDescription,
    Phase,
    build_network,
    checkpoint_path,
    load_network,
    save_description,
    save_network,
)
from train.config import PhaseConfig, TrainingRecipe
from train.dataset import Dataset, load_dataset
from train.ema import MovingAverage
from train.errors import ConfigError
from train.evaluate import to_input, top1
from train.log import LOG_FILE, TENSORBOARD_FOLDER, TrainingLog
from train.model import RepVGG
from train.objective import make_objective
from train.optimizer import make_optimizer
from train.partner import FloatPartner, Mirrored, Teacher, ViewTeacher, load_teachers
from train.phase import PhaseRun, Watch, epoch_generator, steps_per_epoch
from train.progress import Progress
from train.qat import finish_qat, start_qat
from train.resume import RESUME_FILE, Position, Trained, load_position, restore, save_position
from train.split import make_splits, to_tensors
from train.start import adopt_float_net, adopt_quantized, adopted_accuracy, same_float_net
from train.zoo import training_folder

STAGE = "train"
FILES = (  # the manifest first: once it is gone, the folder does not look finished
    MANIFEST_NAME, RESUME_FILE, "float.safetensors", "qat.safetensors", INTEGER_MODEL_FILE, "model.json", LOG_FILE,
)  # fmt: skip


def train_model(
    recipe: TrainingRecipe,
    folder: Path,
    *,
    key: str,
    recipe_sha256: str,
    data_dir: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    quiet: bool = False,
    float_from: Path | None = None,
    measure_test: bool = True,
    watch: Watch | None = None,
) -> Manifest:
    """Train as the recipe says and return the manifest; with `resume`, go on after the last whole epoch.

    `float_from` is a training folder whose float net replaces the float phase, as the recipe's `start_from` does.
    `measure_test` False leaves the test split untouched (accuracy then only on validation). `watch` is called with
    the facts of each epoch.
    """
    check_device(device)
    if resume and (folder / MANIFEST_NAME).is_file() and (manifest := read_manifest(folder)).key == key:
        (folder / RESUME_FILE).unlink(missing_ok=True)  # an interrupt right after the manifest leaves it
        return manifest
    found = load_position(folder, key) if resume else None
    if float_from is None and recipe.train.start_from is not None:
        float_from = training_folder(recipe.train.start_from)
    dataset = load_dataset(recipe.data, data_dir)
    if found is None:
        _clear(folder)
    else:
        remove_temporaries(folder, FILES)
    torch.set_num_threads(recipe.train.threads or torch.get_num_threads())
    training = _Training(recipe, folder, key, dataset, device, quiet, float_from, watch)
    try:
        training.run(found)
    finally:
        training.close()
    return _finish(training, recipe_sha256, measure_test=measure_test)


def check_device(device: str) -> None:
    """Only names that torch knows and that this machine has; a GPU is made to repeat its results."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {device}: not usable here ({error}); allowed cpu, or a device of this torch build"
        ) from error
    if device != "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)


def _clear(folder: Path) -> None:
    """Remove what an earlier training left; the manifest first, so that the folder no longer looks finished."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        remove_temporaries(folder, FILES)
    shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)


@dataclass
class _Training:
    """Both phases of one recipe in one folder."""

    recipe: TrainingRecipe
    folder: Path
    key: str
    dataset: Dataset
    device: str
    quiet: bool
    float_from: Path | None = None
    watch: Watch | None = None
    log: TrainingLog | None = None
    progress: Progress | None = None
    partner: FloatPartner | None = None

    def __post_init__(self) -> None:
        self.splits = make_splits(self.recipe, self.dataset, self.device)
        self.description = ModelDescription(
            class_names=self.dataset.class_names,
            input_hwc=self.dataset.input_hwc,
            model=self.recipe.model,
            norm=self.recipe.norm,
            quantize=self.recipe.quantize,
        )

    def run(self, found: tuple[Position, dict[str, Tensor]] | None) -> None:
        """The phases that are not done yet."""
        in_qat = found is not None and found[0].phase == "qat"
        done = 0 if found is None else found[0].epochs_done
        self._open(done + self.float_epochs if in_qat else done)
        save_description(self.folder, self.description)
        if self.float_from is not None and not in_qat:
            adopt_float_net(self.float_from, self.folder, self.description)
        elif not in_qat:
            self._run_phase(self._first_network(), found)
        if self.recipe.train.qat_phase.epochs:
            network = self._place(load_network(self.folder, "float"))
            self.partner = FloatPartner(network)
            start_qat(network, self._calibration_images(), fold=self.recipe.train.qat_phase.fold_branches)
            self._run_phase(network, found if in_qat else None)
        elif self.float_from is not None:
            self.description = adopt_quantized(self.float_from, self.folder) or self.description

    @property
    def float_epochs(self) -> int:
        """Epochs that the float phase trains here: none where its net comes from elsewhere."""
        return 0 if self.float_from is not None else self.recipe.train.float_phase.epochs

    def _open(self, epochs_done: int) -> None:
        self.log = TrainingLog(self.folder, epochs_done=epochs_done)
        phases = self.recipe.train.float_phase, self.recipe.train.qat_phase
        steps = [steps_per_epoch(len(self.splits.train_labels), phase.batch_size) for phase in phases]
        in_float = min(epochs_done, self.float_epochs)
        self.progress = Progress(
            steps[0] * self.float_epochs + steps[1] * phases[1].epochs,
            done_steps=steps[0] * in_float + steps[1] * (epochs_done - in_float),
            quiet=self.quiet,
        )

    def _first_network(self) -> RepVGG:
        """What the float phase begins with: new weights, or those of another training."""
        source = self.recipe.train.continue_from
        if source is not None:
            return self._place(same_float_net(training_folder(source), self.description))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)  # torch's initialisers draw from the global generator
            return self._place(build_network(self.description))

    def _place(self, network: RepVGG) -> RepVGG:
        return network.to(self.device, memory_format=torch.channels_last).train()

    def _calibration_images(self) -> Tensor:
        """Training images in a seeded order."""
        order = torch.randperm(len(self.splits.train_labels), generator=torch.Generator().manual_seed(self.recipe.seed))
        return self.splits.train_images[order[:1024]]

    def _augmented_images(self) -> Tensor:
        """The calibration images as training sees them, (N, C, H, W) in [0, 1]."""
        generator = epoch_generator(self.recipe.seed, "qat", self.recipe.train.qat_phase.epochs)
        return augment(to_input(self._calibration_images()), self.recipe.data.augment, generator=generator)

    def _run_phase(self, live: RepVGG, found: tuple[Position, dict[str, Tensor]] | None) -> None:
        """Train one phase to its end and write its checkpoint."""
        phase: Phase = "float" if live.phase == "float" else "qat"
        config = self.recipe.train.float_phase if phase == "float" else self.recipe.train.qat_phase
        factor = self.recipe.quantize.weights.codebook_learning_rate_factor
        teacher = self._teacher(config)
        views = teacher if isinstance(teacher, ViewTeacher) else None
        run = PhaseRun(
            self.recipe,
            live,
            MovingAverage(live, config.ema_decay),
            make_optimizer(live, config, codebook_factor=factor),
            make_objective(
                config.distillation, label_smoothing=config.label_smoothing, partner=self.partner, teacher=teacher
            ),
            self.watch,
            view_teacher=views,
            augmented=self._augmented_images() if phase == "qat" else None,
        )
        state = Trained(live, run.average.network, run.optimizer, views)
        first_epoch = 0
        if found is not None:
            restore(found[1], state)
            first_epoch, run.step = found[0].epochs_done, found[0].step

        def keep(epochs_done: int) -> None:
            save_position(self.folder, Position(self.key, phase, epochs_done, run.step), state)

        assert self.log is not None and self.progress is not None
        run.run(self.splits, first_epoch=first_epoch, log=self.log, progress=self.progress, after_epoch=keep)
        if phase == "qat":
            finish_qat(run.average.network, self._calibration_images())
        save_network(self.folder, run.average.network)

    def _teacher(self, config: PhaseConfig) -> Teacher | None:
        """What the phase learns from: the nets that it names, else the float partner; None where it does not distil."""
        distillation = config.distillation
        if distillation.kind == "none":
            return None
        sources = distillation.teachers
        found = load_teachers(sources, self.description).to(self.device) if sources else self.partner
        if found is None:
            return None
        teacher = Mirrored(found) if distillation.mirror else found
        if distillation.views is None:
            return teacher
        images, classes = len(self.splits.train_labels), len(self.description.class_names)
        return ViewTeacher(teacher, views=distillation.views, images=images, classes=classes).to(self.device)

    def close(self) -> None:
        """Close log and progress bar, also after an interruption."""
        if self.log is not None:
            self.log.close()
        if self.progress is not None:
            self.progress.close()


def _finish(training: _Training, recipe_sha256: str, *, measure_test: bool) -> Manifest:
    """Measure validation and (if wanted) test split on what was written, write the manifest, remove the resume state."""
    dataset, folder = training.dataset, training.folder
    test = to_tensors(dataset.test_images, dataset.test_labels, "cpu")
    splits = training.splits
    validation = splits.validation_images.cpu(), splits.validation_labels.cpu()
    accuracy: dict[str, Any] = {}
    validated: dict[str, Any] = {}
    names: tuple[tuple[Phase, str], ...] = (("float", "float_train"), ("qat", "qat"))
    for phase, name in names:
        if not checkpoint_path(folder, phase).is_file():
            continue
        network = load_network(folder, phase).to(memory_format=torch.channels_last)
        if measure_test:
            accuracy[name] = {"top1": top1(network, *test), "images": len(test[1])}
        if len(validation[1]):
            validated[name] = {"top1": top1(network, *validation), "images": len(validation[1])}
    if training.float_from is not None:
        accuracy |= adopted_accuracy(training.float_from, folder) if measure_test else {}
    save_description(folder, training.description.model_copy(update={"phases": _phase_facts(training, validated)}))
    # the state of the training goes last: an interrupt before the manifest can still go on from it
    manifest = write_manifest(
        folder,
        stage=STAGE,
        key=training.key,
        recipe_sha256=recipe_sha256,
        metrics={
            "accuracy": accuracy,
            "validation": validated,
            "dataset": {"name": dataset.name, "split_sizes": dataset.split_sizes, "sha256": dataset.sha256},
            "dataset_notes": list(dataset.notes),
        },
        tool_versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        without=(RESUME_FILE,),
    )
    (folder / RESUME_FILE).unlink(missing_ok=True)
    return manifest


def _phase_facts(training: _Training, validated: dict[str, Any]) -> dict[str, Any]:
    """What model.json says of the phases."""
    phases = training.recipe.train
    trained = {
        "float_train": (phases.float_phase, training.float_epochs),
        "qat": (phases.qat_phase, phases.qat_phase.epochs),
    }
    images = len(training.splits.train_labels)
    facts: dict[str, Any] = {
        name: {
            "epochs": epochs,
            "steps": epochs * steps_per_epoch(images, config.batch_size),
            "validation": validated.get(name),
        }
        for name, (config, epochs) in trained.items()
    }
    return facts if phases.start_from is None else {**facts, "start_from": phases.start_from}
