"""Reading and writing report.json, checked against the published schema `report.schema.json` both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from train.artefact import write_json
from train.errors import ArtefactError

SCHEMA_FILE = Path(__file__).parent / "report.schema.json"
FILE_NAME = "report.json"


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def validate_report(report: Mapping[str, Any]) -> None:
    """Raise `ArtefactError` naming the path of the first value that the schema does not allow."""
    error = best_match(_validator().iter_errors(report))
    if error is not None:
        raise ArtefactError(
            f"report {_path(error.absolute_path)}: {error.message[:300]}; allowed is what {SCHEMA_FILE.name} says; "
            "correct the stage that writes this value"
        )
    for path, number in _numbers(report, ()):
        if not math.isfinite(number):
            raise ArtefactError(
                f"report {_path(path)}: {number}, allowed are finite numbers; correct the stage that writes it"
            )


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a valid report whole, or nothing."""
    validate_report(report)
    write_json(path, report)


def read_report(path: Path) -> dict[str, Any]:
    """A report read back and checked; `path` is the file or the folder that holds it."""
    file = path / FILE_NAME if path.is_dir() else path
    try:
        report = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise ArtefactError(f"{file}: no such file; a finished run has one; run `repedge report` first") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{file}: truncated or not JSON ({error}); run `repedge report` again") from error
    validate_report(report)
    return report


def _path(parts: Any) -> str:
    return ".".join(str(part) for part in parts) or "(top level)"


def _numbers(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Every number of a JSON value with its path."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _numbers(child, (*path, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _numbers(child, (*path, number))
