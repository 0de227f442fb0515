"""The state of an unfinished training, in one safetensors file: enough to go on exactly where it stopped.

Random numbers need no state: every epoch seeds its own generator from (recipe seed, phase, epoch). Tensors are named
`live.*` and `average.*` (the two networks), `optimizer.<state>.<parameter>` and, where a teacher's logits are
kept, `taught.*`; phase, epoch and key lie in the metadata.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from train.checkpoint import Phase, load_state, save_state
from train.errors import ArtefactError
from train.partner import ViewTeacher

RESUME_FILE = "resume.safetensors"


@dataclass(frozen=True)
class Position:
    """`epochs_done` epochs of `phase` are done."""

    key: str
    phase: Phase
    epochs_done: int
    step: int


@dataclass(frozen=True)
class Trained:
    """All that an epoch of a phase changes."""

    live: torch.nn.Module
    average: torch.nn.Module
    optimizer: torch.optim.Optimizer
    view_teacher: ViewTeacher | None = None


def save_position(folder: Path, position: Position, trained: Trained) -> None:
    """Write the state; an earlier one is replaced as a whole."""
    state: dict[str, Tensor] = {f"live.{name}": tensor for name, tensor in trained.live.state_dict().items()}
    state |= {f"average.{name}": tensor for name, tensor in trained.average.state_dict().items()}
    for name, parameter in trained.live.named_parameters():
        for kind, value in trained.optimizer.state.get(parameter, {}).items():
            if value is not None:
                state[f"optimizer.{kind}.{name}"] = value
    if trained.view_teacher is not None:
        state |= {f"taught.{name}": tensor for name, tensor in trained.view_teacher.remembered.items()}
    save_state(folder / RESUME_FILE, state, {"position": json.dumps(vars(position))})


def load_position(folder: Path, key: str) -> tuple[Position, dict[str, Tensor]] | None:
    """The state in the folder, or None; a state of another recipe is an error."""
    path = folder / RESUME_FILE
    if not path.is_file():
        return None
    state = load_state(path)
    try:
        with safe_open(path, framework="pt") as opened:
            position = Position(**json.loads(opened.metadata()["position"]))
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ArtefactError(f"{path}: no position in it ({error}); delete the file and train again") from error
    if position.key != key:
        raise ArtefactError(
            f"{path}: state of another recipe (key {position.key[:12]}, this one {key[:12]}); "
            "resume with the recipe and version it was started with, or start again with --force instead of --resume"
        )
    return position, state


def restore(state: dict[str, Tensor], trained: Trained) -> None:
    """Put a loaded state into networks and optimizer that were built the same way."""
    trained.live.load_state_dict(_below(state, "live."))
    trained.average.load_state_dict(_below(state, "average."))
    parameters = dict(trained.live.named_parameters())
    for key, value in _below(state, "optimizer.").items():
        kind, name = key.split(".", 1)
        parameter = parameters[name]
        trained.optimizer.state[parameter][kind] = _like(value, parameter) if value.ndim else value.to(parameter.device)
    if trained.view_teacher is not None:
        for name, tensor in trained.view_teacher.remembered.items():
            tensor.copy_(state[f"taught.{name}"])


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """On the parameter's device and in its memory layout: another layout could sum in another order."""
    return torch.empty_like(parameter).copy_(tensor)
