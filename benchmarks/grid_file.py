"""Reading the YAML file that says what a benchmark measures or trains."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from train.config import Section
from train.errors import ConfigError
from train.validation import explain

Kind = TypeVar("Kind", bound=Section)


def read_grid(path: Path, kind: type[Kind], *, example: str, called: str = "grid") -> Kind:
    """The checked content of a file; an error calls it `called` and names `example`, the shipped one."""
    if not path.is_file():
        raise ConfigError(f"{called} {path}: no such file; give a YAML file, for example {example}")
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise ConfigError(f"{called} {path}: not valid YAML ({error}); correct it") from error
    except ValidationError as error:
        raise ConfigError(f"{called} {path}:\n{explain(error, kind)}") from error
