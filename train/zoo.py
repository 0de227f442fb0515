"""The zoo: trained models in `zoo/<name>/`, listed with the SHA-256 of every file in `zoo/index.json`.

A model's folder is a training folder (model.json, float.safetensors, log.jsonl, manifest.json) plus `recipe.yaml`; a
quantized model adds `integer_model.safetensors`, what its training ended with, from which `convert` goes on.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from train.artefact import sha256_file
from train.errors import ArtefactError, ConfigError

ZOO = Path(__file__).resolve().parent.parent / "zoo"
INDEX_FILE = "index.json"
PREFIX = "zoo:"


class ZooModel(BaseModel):
    """One model. Accuracies are top-1 in percent; `weight_bytes` counts indices, codebooks, biases and multipliers.

    `top1_test` is of the net as it is named (float, or fake-quantized in training), `top1_float` of the float net it
    came from. `sha256` is that of the checkpoint that the name stands for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    data: str
    data_sha256: str
    size: str
    weight_bits: int | None
    activation_bits: int | None
    top1_test: float
    top1_validation: float | None
    top1_float: float
    top1_float_validation: float | None
    test_images: int
    weight_bytes: int | None
    parameters: int
    macs: int
    seed: int
    recipe: str
    command: str
    log: str
    created_utc: str
    sha256: str
    files: dict[str, str]


class ZooIndex(BaseModel):
    """index.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = 1
    models: tuple[ZooModel, ...] = ()


def load_index(zoo: Path | None = None) -> ZooIndex:
    """Read and check the index."""
    path = (zoo or ZOO) / INDEX_FILE
    try:
        return ZooIndex.model_validate(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise ArtefactError(
            f"{path}: missing; the zoo lies in the repository's root; install RepEdge from a checkout (pip install -e .)"
        ) from error
    except (ValidationError, ValueError) as error:
        raise ArtefactError(f"{path}: not an index of this version ({error}); check the file out again") from error


def find_model(name: str, zoo: Path | None = None) -> ZooModel:
    """The model of that name; an unknown name is told its nearest ones."""
    models = {model.name: model for model in load_index(zoo).models}
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise ConfigError(
        f"zoo: no model {name}; {hint}allowed are {', '.join(models) or 'none yet'}; see repedge zoo list"
    )


def model_folder(name: str, zoo: Path | None = None) -> Path:
    """The folder of a model, every file compared with the index."""
    model, folder = find_model(name, zoo), (zoo or ZOO) / name
    for file, wanted in model.files.items():
        path = folder / file
        if not path.is_file():
            raise ArtefactError(f"{path}: missing, the zoo's index lists it; check the file out again")
        found = sha256_file(path)
        if found != wanted:
            raise ArtefactError(
                f"{path}: SHA-256 {found[:12]}…, the zoo's index says {wanted[:12]}…; the file is damaged, check it out again"
            )
    return folder


def training_folder(source: str) -> Path:
    """Where a `zoo:NAME`, a run folder or a training folder keeps its checkpoints."""
    if source.startswith(PREFIX):
        return model_folder(source.removeprefix(PREFIX))
    folder = Path(source)
    if not folder.is_dir():
        raise ConfigError(f"{source}: no such folder; name a run folder, a training folder, or zoo:NAME")
    return folder / "train" if (folder / "train").is_dir() else folder


def source_hashes(source: str) -> dict[str, Any]:
    """SHA-256 of the checkpoints and the description of a source, for stage keys."""
    folder = training_folder(source)
    return {
        path.name: sha256_file(path) for path in sorted([*folder.glob("*.safetensors"), *folder.glob("model.json")])
    }
