"""Artefact folders: the only thing two stages share.

A folder is complete when it holds a `manifest.json`; the manifest is written last, so an interrupted stage leaves
no folder that looks finished. Every file is written under a temporary name and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from train.errors import ArtefactError
from train.validation import explain

MANIFEST_NAME = "manifest.json"


class FileEntry(BaseModel):
    """What the manifest says of one file: its SHA-256 (hex) and its size."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: str
    size_bytes: int


class Manifest(BaseModel):
    """The facts of one artefact folder. `key` is the hash of everything the stage's result depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = 1
    stage: str
    key: str
    recipe_sha256: str = ""
    created_utc: str
    tool_versions: dict[str, str] = {}
    files: dict[str, FileEntry] = {}
    metrics: dict[str, Any] = {}


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for chunk in iter(lambda: handle.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` only if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        os.close(descriptor)
        # mkstemp makes files private; give them the mode an ordinary open() would
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path, names: Iterable[str]) -> None:
    """Remove what a killed process left of writing these files (`atomic_path`); for a folder that nobody else writes."""
    for name in names:
        stale = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}{re.escape(Path(name).suffix)}")  # mkstemp's eight
        for path in folder.iterdir():
            if stale.fullmatch(path.name):
                path.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file so that it is either whole or not there."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON (indented, NaN refused) so that the file is either whole or not there."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_manifest(
    folder: Path,
    *,
    stage: str,
    key: str,
    recipe_sha256: str = "",
    metrics: Mapping[str, Any] | None = None,
    tool_versions: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> Manifest:
    """Hash every file below `folder`, but those named in `without`, and write its manifest; it counts as finished from here on."""
    files = {
        path.relative_to(folder).as_posix(): FileEntry(sha256=sha256_file(path), size_bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME and path.name not in without
    }
    manifest = Manifest(
        stage=stage,
        key=key,
        recipe_sha256=recipe_sha256,
        created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool_versions=dict(tool_versions or {}),
        files=files,
        metrics=dict(metrics or {}),
    )
    write_json(folder / MANIFEST_NAME, manifest.model_dump())
    return manifest


def read_manifest(folder: Path, *, verify: bool = False) -> Manifest:
    """The manifest of a finished folder; with `verify`, every file's size and hash are checked too."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ArtefactError(
            f"{folder}: no {MANIFEST_NAME}; a finished artefact folder has one; run the stage that writes it"
        )
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtefactError(
            f"{path}: not a manifest of this version; run the stage again with --force\n{explain(error, Manifest)}"
        ) from error
    if verify:
        verify_files(folder, manifest)
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Raise `ArtefactError` naming the first file that is missing, resized or altered."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtefactError(f"{path}: missing, its manifest lists it; run the stage again")
        size = path.stat().st_size
        if size != entry.size_bytes:
            raise ArtefactError(
                f"{path}: {size} bytes, the manifest says {entry.size_bytes}; the file is truncated or altered; run the stage again"
            )
        if sha256_file(path) != entry.sha256:
            raise ArtefactError(f"{path}: SHA-256 differs from the manifest; the file was altered; run the stage again")
