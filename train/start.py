"""Starting from a trained model instead of from scratch: its float net, and, where nothing is trained, all of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from train.artefact import MANIFEST_NAME, read_manifest
from train.checkpoint import (
    INTEGER_MODEL_FILE,
    ModelDescription,
    checkpoint_path,
    load_description,
    load_network,
    save_network,
)
from train.errors import ArtefactError
from train.model import RepVGG

QUANTIZED_FILES = ("qat.safetensors", INTEGER_MODEL_FILE)
SAME = ("model", "norm", "class_names", "input_hwc")


def same_float_net(source: Path, description: ModelDescription) -> RepVGG:
    """The float net of another training, which must be of the same model, norm, classes and input."""
    theirs = load_description(source)
    different = [name for name in SAME if getattr(theirs, name) != getattr(description, name)]
    if different:
        raise ArtefactError(
            f"{source}: its float net has another {', '.join(different)} than this recipe, allowed is the same model, "
            f"norm, classes and input; write its {different[0]} into the recipe, or name another source"
        )
    return load_network(source, "float")


def adopt_float_net(source: Path, folder: Path, description: ModelDescription) -> None:
    """Take the float net of another training in place of a float phase."""
    save_network(folder, same_float_net(source, description))


def adopt_quantized(source: Path, folder: Path) -> ModelDescription | None:
    """Take what the source quantized in training, verbatim; its description, or None where it holds float nets only."""
    found = [name for name in QUANTIZED_FILES if (source / name).is_file()]
    for name in found:
        shutil.copyfile(source / name, folder / name)
    return load_description(source) if found else None


def adopted_accuracy(source: Path, folder: Path) -> dict[str, Any]:
    """Test accuracy of a quantized net that only its source can state, because there is no QAT checkpoint to measure."""
    if checkpoint_path(folder, "qat").is_file() or not (source / MANIFEST_NAME).is_file():
        return {}
    accuracy = read_manifest(source).metrics.get("accuracy", {})
    return {
        name: value for name, value in accuracy.items() if name == "qat" and (folder / INTEGER_MODEL_FILE).is_file()
    }
