"""The nets that a fit starts from: run folders with a trained net, or recipes whose float net is trained first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.float_network import FloatNetwork
from convert.merge import merge_network
from repedge.recipe import Recipe, load_recipe
from repedge.stages import RECIPE_FILE, source_hash, stage_key
from train.artefact import MANIFEST_NAME, atomic_path, read_manifest, sha256_file
from train.checkpoint import (
    MODEL_FILE,
    ModelDescription,
    build_network,
    checkpoint_path,
    load_description,
    load_network,
    save_network,
)
from train.config import QatPhaseConfig
from train.dataset import Dataset, load_dataset
from train.errors import ArtefactError, ConfigError
from train.loop import train_model
from train.split import split_validation
from train.zoo import PREFIX, model_folder, training_folder


@dataclass(frozen=True)
class Net:
    """One net: its recipe, the folder of its float checkpoint, and the merged net."""

    recipe: Recipe
    folder: Path
    merged: FloatNetwork
    dataset: Dataset

    @property
    def sha256(self) -> str:
        """Of the float checkpoint."""
        return sha256_file(checkpoint_path(self.folder, "float"))

    def split(self, *, validation: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images and labels that training saw, or those it did not."""
        recipe, dataset = self.recipe, self.dataset
        share = recipe.data.validation_share
        parts = split_validation(dataset.train_labels, share=share, seed=recipe.seed)
        chosen = parts[1] if validation else parts[0]
        return dataset.train_images[chosen], dataset.train_labels[chosen]

    def calibration(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Up to `count` training images in a seeded order, with labels."""
        images, labels = self.split(validation=False)
        order = np.random.default_rng([self.recipe.seed, len(images)]).permutation(len(images))[:count]
        return images[order], labels[order]


@dataclass(frozen=True)
class Start:
    """What is common to all nets of one fit; float nets are kept or trained below `work`."""

    work: Path
    overrides: tuple[str, ...] = ()
    data_dir: Path | None = None
    device: str = "cpu"
    quiet: bool = False
    from_qat: bool = False

    def recipe_of(self, path: Path) -> Recipe:
        """The recipe of a run folder or zoo model, or the recipe itself."""
        folder = _folder_of(path)
        if folder is None:
            return load_recipe(path, self.overrides)
        if not (folder / RECIPE_FILE).is_file():
            raise ArtefactError(
                f"{path}: no {RECIPE_FILE} in it; give the folder of a run (repedge train or run writes one) or a recipe"
            )
        return load_recipe(folder / RECIPE_FILE, self.overrides)

    def net(self, path: Path) -> Net:
        """The net of a run folder, zoo model or recipe, with its float checkpoint below `work`."""
        recipe, folder = self.recipe_of(path), _folder_of(path)
        if folder is None:
            return self.net_of(recipe)
        return self.adopted(recipe, training_folder(str(folder)))

    def adopted(self, recipe: Recipe, source: Path) -> Net:
        """The net of a recipe whose float net lies in another training folder."""
        self._adopt(source, self._folder(recipe))
        return self._loaded(recipe)

    def net_of(self, recipe: Recipe) -> Net:
        """The net of a recipe, its float phase trained unless it was before."""
        if recipe.train.start_from is not None:
            return self.adopted(recipe, training_folder(recipe.train.start_from))
        self._train(recipe, self._folder(recipe))
        return self._loaded(recipe)

    def _folder(self, recipe: Recipe) -> Path:
        return self.work / "float" / recipe.name

    def _loaded(self, recipe: Recipe) -> Net:
        folder = self._folder(recipe)
        merged = merge_network(load_network(folder, "float"), load_description(folder).input_hwc)
        return Net(recipe, folder, merged, load_dataset(recipe.data, self.data_dir))

    def _adopt(self, source: Path, folder: Path) -> None:
        """Copy the float net; from QAT alone, or on request, the latent net that QAT ended with."""
        has = {name: checkpoint_path(source, name).is_file() for name in ("float", "qat")}
        if not any(has.values()):
            raise ArtefactError(f"{source}: no float.safetensors or qat.safetensors; run repedge train first")
        if self.from_qat and not has["qat"]:
            raise ConfigError(
                f"--from-qat: {source} holds no qat.safetensors; leave it away, or train with a QAT phase"
            )
        if (source / MANIFEST_NAME).is_file():
            read_manifest(source, verify=True)
        _copy(source / MODEL_FILE, folder / MODEL_FILE)
        if has["float"] and not self.from_qat:
            load_network(source, "float")  # damage is told before any work
            _copy(checkpoint_path(source, "float"), checkpoint_path(folder, "float"))
            return
        trained = load_network(source, "qat").state_dict()
        network = build_network(load_description(source))
        names = set(network.state_dict())
        network.load_state_dict({name: tensor for name, tensor in trained.items() if name in names})
        network.logits_scale.zero_()  # the next QAT calibrates its own
        save_network(folder, network)

    def _train(self, recipe: Recipe, folder: Path) -> None:
        """The recipe's float phase, resumable."""
        phases = recipe.train.model_copy(update={"qat_phase": QatPhaseConfig(epochs=0)})
        training = recipe.training().model_copy(update={"train": phases})
        key = stage_key(
            stage="fit float",
            recipe=training.model_dump(mode="json"),
            data=load_dataset(recipe.data, self.data_dir).sha256,
            source=source_hash("train"),
            device=self.device,
        )
        train_model(
            training,
            folder,
            key=key,
            recipe_sha256=recipe.sha256(),
            data_dir=self.data_dir,
            device=self.device,
            resume=True,
            quiet=self.quiet,
            measure_test=False,
        )


def untrained(recipe: Recipe, dataset: Dataset) -> FloatNetwork:
    """A merged net of the recipe's shapes, for questions of size before any training."""
    description = ModelDescription(
        class_names=dataset.class_names, input_hwc=dataset.input_hwc, model=recipe.model, norm=recipe.norm
    )
    return merge_network(build_network(description), dataset.input_hwc)


def _folder_of(path: Path) -> Path | None:
    """The folder of a run or of `zoo:NAME`; None of a recipe."""
    if str(path).startswith(PREFIX):
        return model_folder(str(path).removeprefix(PREFIX))
    if not path.exists():
        raise ConfigError(f"{path}: no such run folder or recipe; give one that exists, or zoo:NAME")
    return path if path.is_dir() else None


def _copy(source: Path, destination: Path) -> None:
    if not source.is_file():
        raise ArtefactError(f"{source}: missing; a training folder has it; run repedge train again")
    with atomic_path(destination) as temporary:
        shutil.copy(source, temporary)
