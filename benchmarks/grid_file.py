"""Reading the YAML file that says what a benchmark measures or trains."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from train.config import Section
from train.errors import ConfigError
from train.validation import explain
from train.yaml_file import read_yaml_mapping

Kind = TypeVar("Kind", bound=Section)


def read_grid(path: Path, kind: type[Kind], *, example: str, called: str = "grid") -> Kind:
    """The checked content of a file; an error calls it `called` and names `example`, the shipped one."""
    content = read_yaml_mapping(path, called, f"give a YAML file, for example {example}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{called} {path}:\n{explain(error, kind)}") from error
