"""The recipe: one YAML file that describes a whole run, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from deploy.config import BudgetConfig, DeployConfig
from deploy.targets import PALETTE_ENTRIES, EthosUTarget, load_target
from train.artefact import sha256_json
from train.config import Section, TrainingRecipe
from train.errors import ConfigError
from train.validation import explain
from train.yaml_file import parse_yaml


class CheckpointConfig(Section):
    """A RepVGG trained elsewhere, which enters at `convert` (`train.foreign` lists the key layouts).

    `input_mean` and `input_std` are what its images were normalised with, in units of pixel / 255.
    """

    file: Path | None = Field(None, description=".pth, .pt or .safetensors")
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> CheckpointConfig:
        if (self.input_mean is None) != (self.input_std is None):
            raise ValueError("checkpoint.input_mean and checkpoint.input_std belong together; give both or neither")
        return self


class Recipe(TrainingRecipe):
    """Training plus deployment and budget. `name` identifies the run's folder."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    checkpoint: CheckpointConfig = CheckpointConfig()
    deploy: DeployConfig = DeployConfig()
    budget: BudgetConfig = BudgetConfig()

    def sha256(self) -> str:
        """Hash of the whole recipe, defaults filled in."""
        return sha256_json(self.model_dump(mode="json"))

    def training(self) -> TrainingRecipe:
        """Only what the training stage depends on."""
        return TrainingRecipe(**{name: getattr(self, name) for name in TrainingRecipe.model_fields})

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; `overrides` are `key.sub=value` strings, values in YAML."""
    if not path.is_file():
        raise ConfigError(
            f"recipe {path}: no such file; give the path of a YAML recipe, for example recipes/quickstart.yaml"
        )
    try:
        content = parse_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: not valid YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"recipe {path}: holds {type(content).__name__}, a recipe is a mapping of sections")
    for override in overrides:
        apply_override(content, override)
    content.setdefault("name", path.stem)
    return check_recipe(content, str(path))


def check_recipe(content: dict[str, Any], origin: str) -> Recipe:
    """A recipe of parsed YAML; every problem is listed in one `ConfigError`."""
    try:
        return _with_palettes(Recipe.model_validate(content))
    except ValidationError as error:
        raise ConfigError(f"recipe {origin}:\n{explain(error, Recipe)}") from error


def _with_palettes(recipe: Recipe) -> Recipe:
    """The recipe; where all targets are NPUs and it does not say otherwise, with codebooks that fit their palette."""
    weights = recipe.quantize.weights
    if "max_entries" in weights.model_fields_set or not all(map(_is_npu, recipe.deploy.targets or ("none",))):
        return recipe
    narrow = weights.model_copy(update={"max_entries": PALETTE_ENTRIES})
    return recipe.model_copy(update={"quantize": recipe.quantize.model_copy(update={"weights": narrow})})


def _is_npu(name: str) -> bool:
    """Whether a target is an NPU; a name that is none is told by the command that needs it."""
    try:
        return isinstance(load_target(name), EthosUTarget)
    except ConfigError:
        return False


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set one `a.b.c=value`, the value in YAML, in nested mappings."""
    match = re.fullmatch(r"([\w.\-]+)=(.*)", override, re.DOTALL)
    if not match:
        raise ConfigError(
            f"--set {override}: not of the form key.sub=value; for example --set quantize.weights.bit_width=3"
        )
    *parents, last = match[1].split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override}: {parent} is not a section; name a key inside a section")
    section[last] = yaml.safe_load(match[2])
