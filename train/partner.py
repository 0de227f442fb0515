"""Float nets that judge and teach, merged and fixed: a QAT net's partner (itself after its float phase), or another teacher."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.checkpoint import ModelDescription, load_description, load_network
from train.errors import ConfigError
from train.model import RepVGG
from train.zoo import training_folder


class FloatPartner(nn.Module):
    """The float phase's net in evaluation mode with merged kernels (a third of the branches' cost); nothing trains.

    Gradients flow through it to its input.
    """

    def __init__(self, network: RepVGG) -> None:
        super().__init__()
        frozen = copy.deepcopy(network).eval().requires_grad_(False)
        self._stages: list[list[str]] = []
        self._steps: dict[str, tuple[int, int]] = {}  # stride, groups
        for blocks in frozen.stages:
            keys = []
            for block in blocks:
                weight, bias = block.merged_kernel()
                keys.append(self._keep(block.name, weight, bias, stride=block.stride, groups=block.groups))
            self._stages.append(keys)
        self._keep("classifier", *frozen.classifier.merged())

    def _keep(self, name: str, weight: Tensor, bias: Tensor, *, stride: int = 1, groups: int = 1) -> str:
        key = name.replace(".", "_")
        self.register_buffer(f"{key}_weight", weight.detach().clone())
        self.register_buffer(f"{key}_bias", bias.detach().clone())
        self._steps[key] = stride, groups
        return key

    def tail(self, x: Tensor, *, stages_done: int) -> Tensor:
        """Logits (N, classes) of the output of the first `stages_done` stages; 0 takes images."""
        for keys in self._stages[stages_done:]:
            for key in keys:
                weight, bias = self.get_buffer(f"{key}_weight"), self.get_buffer(f"{key}_bias")
                stride, groups = self._steps[key]
                x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=1, groups=groups))
        return F.linear(x.mean(dim=(2, 3)), self.get_buffer("classifier_weight"), self.get_buffer("classifier_bias"))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits of the whole float net, without gradient."""
        return self.tail(images, stages_done=0)


class Ensemble(nn.Module):
    """Several float nets as one teacher: the mean of their logits (Hinton et al. 2015, section 2's geometric mean)."""

    def __init__(self, members: Sequence[FloatPartner]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Mean logits (N, classes), without gradient."""
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


class Mirrored(nn.Module):
    """A teacher asked twice: the mean of its logits on an image and on its mirror image."""

    def __init__(self, teacher: FloatPartner | Ensemble) -> None:
        super().__init__()
        self.teacher = teacher

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Mean logits (N, classes), without gradient."""
        return (self.teacher(images) + self.teacher(images.flip(3))) / 2


class ViewTeacher(nn.Module):
    """A teacher that sees each of a few augmented views of an image once and remembers its logits.

    `select` says which images' views the next call is for. What is remembered, `logits` (views, images, classes) in
    float32 where `known` (views, images), belongs to the training's state.
    """

    def __init__(self, teacher: FloatPartner | Ensemble | Mirrored, *, views: int, images: int, classes: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.logits: Tensor
        self.known: Tensor
        self.register_buffer("logits", torch.zeros(views, images, classes))
        self.register_buffer("known", torch.zeros(views, images, dtype=torch.bool))
        self._selected: tuple[int, Tensor] = 0, torch.arange(0)

    @property
    def views(self) -> int:
        """How many views of each image there are."""
        return len(self.logits)

    def select(self, view: int, images: Tensor) -> None:
        """The next batch is this view of these images (their numbers)."""
        self._selected = view, images.to(self.logits.device)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of the selected views, without gradient."""
        view, numbers = self._selected
        missing = ~self.known[view, numbers]
        if missing.any():
            self.logits[view, numbers[missing]] = self.teacher(images[missing]).float()
            self.known[view, numbers] = True
        return self.logits[view, numbers]

    @property
    def remembered(self) -> dict[str, Tensor]:
        """The part of the state that training changes."""
        return {"logits": self.logits, "known": self.known}


Teacher = FloatPartner | Ensemble | Mirrored | ViewTeacher


def load_teachers(sources: Sequence[str], description: ModelDescription) -> FloatPartner | Ensemble:
    """The float net of the only source, or an ensemble of all (ConfigError as in `load_teacher`)."""
    teachers = [load_teacher(source, description) for source in sources]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers)


def load_teacher(source: str, description: ModelDescription) -> FloatPartner:
    """The float net of a run folder or of `zoo:NAME`; it must see the same images and name the same classes."""
    folder = training_folder(source)
    theirs = load_description(folder)
    for name in ("class_names", "input_hwc"):
        found, wanted = getattr(theirs, name), getattr(description, name)
        if found != wanted:
            raise ConfigError(
                f"distillation.teacher {source}: its {name} is {found}, allowed is {wanted}, the data set's; "
                "train the teacher on the same data"
            )
    return FloatPartner(load_network(folder, "float"))
