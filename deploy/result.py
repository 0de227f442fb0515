"""What a back end hands to the report, and what it is given: the converted model's folder, read back and checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import load_integer_model
from convert.vectors import FILE_NAME as VECTORS_FILE
from convert.vectors import Vectors, load_vectors
from deploy.exactness import Exactness, accuracy_entry, compare_logits
from train.artefact import write_json


@dataclass(frozen=True)
class ConvertedModel:
    """The convert stage's folder with its integer model and test vectors."""

    folder: Path
    model: IntegerModel
    vectors: Vectors


def load_converted(folder: Path) -> ConvertedModel:
    """Read a convert folder."""
    return ConvertedModel(folder, load_integer_model(folder / MODEL_FILE), load_vectors(folder / VECTORS_FILE))


@dataclass(frozen=True)
class BackendResult:
    """One back end's facts. `target` is the entry of report.json's `targets` (None for host back ends).

    `role` says where `exactness` goes: a proof against the reference, or a foreign runtime that rounds otherwise.
    `file_bytes` is the size of the file that ran, where the report compares it.
    """

    backend: str
    exactness: Exactness | None = None
    accuracy: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    role: str = "exact"  # or "runtime"
    notices: tuple[str, ...] = ()
    file_bytes: int | None = None


def proven(
    backend: str,
    vectors: Vectors,
    logits: NDArray[np.int8],
    *,
    target: dict[str, Any] | None = None,
    role: str = "exact",
    notices: tuple[str, ...] = (),
    file_bytes: int | None = None,
) -> BackendResult:
    """The result of a back end that ran the first `len(logits)` test vectors."""
    given = vectors.first(len(logits))
    exactness = compare_logits(given.logits, logits)
    return BackendResult(backend, exactness, accuracy_entry(logits, given.labels), target, role, notices, file_bytes)


RESULTS_FILE = "results.json"


def save_results(results: list[BackendResult], folder: Path) -> None:
    """Write the back ends' facts of one deploy folder."""
    write_json(folder / RESULTS_FILE, [asdict(result) for result in results])


def load_results(folder: Path) -> list[BackendResult]:
    """Read what `save_results` wrote."""
    entries = json.loads((folder / RESULTS_FILE).read_text())
    return [_result(entry) for entry in entries]


def _result(entry: dict[str, Any]) -> BackendResult:
    exactness = Exactness(**entry["exactness"]) if entry["exactness"] else None
    return BackendResult(**entry | {"exactness": exactness, "notices": tuple(entry["notices"])})
