"""Checkpoints: `float.safetensors` and `qat.safetensors` beside a `model.json` that says which network they fill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from train.artefact import write_bytes, write_json
from train.config import ModelConfig, NormConfig, QuantizeConfig, Section
from train.errors import ArtefactError, UnsupportedLayer
from train.model import RepVGG

Phase = Literal["float", "qat"]
MODEL_FILE = "model.json"
INTEGER_MODEL_FILE = (
    "integer_model.safetensors"  # all that convert needs of a quantized net; `convert` writes and reads it
)


class ModelDescription(Section):
    """model.json: all that is needed to build the network, and the facts of its training."""

    class_names: tuple[str, ...]
    input_hwc: tuple[int, int, int]
    model: ModelConfig
    norm: NormConfig = NormConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    phases: dict[str, Any] = Field({}, description="facts of the phases, for people")


def checkpoint_path(folder: Path, phase: Phase) -> Path:
    """Where a phase's weights lie."""
    return folder / f"{phase}.safetensors"


def build_network(description: ModelDescription) -> RepVGG:
    """A network with fresh weights, in its float phase."""
    return RepVGG(
        description.model,
        description.norm,
        description.quantize,
        input_channels=description.input_hwc[2],
        classes=len(description.class_names),
    )


def save_description(folder: Path, description: ModelDescription) -> None:
    """Write model.json."""
    write_json(folder / MODEL_FILE, description.model_dump(mode="json"))


def load_description(folder: Path) -> ModelDescription:
    """Read and check model.json."""
    path = folder / MODEL_FILE
    try:
        return ModelDescription.model_validate(_of_today(json.loads(path.read_text())))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: missing; a training folder has one; run repedge train again") from error
    except (ValidationError, ValueError) as error:
        raise ArtefactError(f"{path}: not a model description ({error}); run repedge train again") from error


def _of_today(stored: dict[str, Any]) -> dict[str, Any]:
    """What was written before a key existed says nothing of it, and its default of today would be wrong."""
    return {**stored, "quantize": {"mean_norm_until": 0.0, **stored.get("quantize", {})}}


def save_network(folder: Path, network: RepVGG) -> Path:
    """Write the network's weights under its phase's name; returns the path."""
    path = folder / f"{network.phase}.safetensors"
    save_state(path, network.state_dict())
    return path


def load_network(folder: Path, phase: Phase) -> RepVGG:
    """The trained network of a phase, in evaluation mode, on the CPU, with every tensor checked."""
    network = build_network(load_description(folder))
    if phase == "qat":
        network.attach_quantizers()
    path = checkpoint_path(folder, phase)
    state = load_state(path)
    check_state(path, state, network.state_dict())
    network.load_state_dict(state)
    return network.eval()


def save_state(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors so that the file is whole or not there."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.items())}
    write_bytes(path, save(plain, metadata))  # the library's own writer hides a full disk behind an error of its own


def load_state(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file; a broken file or a NaN is an error that names the place."""
    try:
        state: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: missing; run repedge train again, or name the folder that holds it") from error
    except (SafetensorError, OSError) as error:
        raise ArtefactError(
            f"{path}: not a whole safetensors file ({error}); it is truncated or altered; run repedge train again"
        ) from error
    check_finite(path, state)
    return state


def check_finite(path: Path, state: dict[str, Tensor]) -> None:
    """Raise at the first tensor that holds a NaN or an infinity."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ArtefactError(
                f"{path}: tensor {name} holds {count} NaN or infinite values, allowed are finite ones; "
                "train again with a lower learning rate or take another checkpoint"
            )


def check_state(
    path: Path,
    state: dict[str, Tensor],
    expected: dict[str, Tensor],
    *,
    origin: str = f"{MODEL_FILE} belongs to this checkpoint",
) -> None:
    """Raise at the first tensor that is missing, unknown, or of another shape or type than the network's.

    `origin` names what the network was built from.
    """
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unexpected:
        raise ArtefactError(
            f"{path}: missing tensors {missing[:5]}, unexpected tensors {unexpected[:5]}; "
            f"allowed are exactly the network's; check that {origin}"
        )
    for name, tensor in sorted(state.items()):
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            _check_convolution(path, name, tuple(tensor.shape), tuple(wanted.shape))
            raise ArtefactError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, the network needs {tuple(wanted.shape)}; "
                f"check that {origin}"
            )
        if tensor.dtype != wanted.dtype:
            raise ArtefactError(f"{path}: tensor {name} is {tensor.dtype}, allowed {wanted.dtype}; convert it first")
        if name.endswith(".indices"):
            _check_indices(path, name, tensor, expected)


def _check_convolution(path: Path, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Say it plainly when the shape is that of a layer which the integer model cannot express."""
    if len(wanted) != 4 or len(found) != 4:
        return
    layer = name.removesuffix(".weight")
    if found[1] < wanted[1] and wanted[1] % found[1] == 0 and found[0] == wanted[0]:
        raise UnsupportedLayer(
            f"{path}: layer {layer} is a grouped convolution ({wanted[1] // found[1]} groups, weight {found}), "
            f"allowed are dense ones {wanted}; train without groups"
        )
    if found[2:] != wanted[2:]:
        raise UnsupportedLayer(
            f"{path}: layer {layer} has a {found[2]}x{found[3]} kernel, allowed {wanted[2]}x{wanted[3]}; "
            "train with RepVGG blocks"
        )


def _check_indices(path: Path, name: str, indices: Tensor, expected: dict[str, Tensor]) -> None:
    """Indices must lie inside the layer's codebook, where the codebook is stored."""
    centroids = expected.get(name.removesuffix("indices") + "centroids")
    if centroids is not None and indices.numel() and int(indices.max()) >= centroids.numel():
        raise ArtefactError(
            f"{path}: tensor {name} holds index {int(indices.max())}, allowed below {centroids.numel()}; run repedge train again"
        )
