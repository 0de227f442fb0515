"""Reading a grid, the YAML file that says what a benchmark measures."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from train.config import Section
from train.errors import ConfigError
from train.validation import explain
from train.yaml_file import read_yaml_mapping

Kind = TypeVar("Kind", bound=Section)


def read_grid(path: Path, kind: type[Kind], *, example: str) -> Kind:
    """The checked content of a grid file; `example` is the shipped one that an error names."""
    content = read_yaml_mapping(path, "grid", f"give a YAML grid, for example {example}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"grid {path}:\n{explain(error, kind)}") from error
