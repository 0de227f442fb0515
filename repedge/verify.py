"""Is this file still the integer model? Each format is read back, decoded and compared, and damage is told by layer.

After the content the file's SHA-256 is compared with its folder's manifest, so that no altered byte passes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from convert.integer_model import IntegerModel
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import load_integer_model
from repedge.verify_formats import FORMATS, Format
from repedge.verify_model import verify_model
from train.artefact import MANIFEST_NAME, read_manifest, sha256_file
from train.errors import ArtefactError, ConfigError, Mismatch, ToolMissing

ELF_MAGIC = b"\x7fELF"
WEIGHTS_SYMBOL = b"_multiplier\0"  # of a program with C tables, under whatever name


def verify_path(path: Path, model_path: Path | None = None) -> dict[str, Any]:
    """Facts of a file that holds the integer model; `Mismatch` names the layer where it does not.

    The model is `model_path` (a file, a convert folder or a run folder), or the one of the run that holds the file.
    """
    if path.is_dir() and (path / "model_data.c").is_file():
        path = path / "model_data.c"
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; give one that a run's convert or deploy folder holds")
    if path.name == MODEL_FILE:
        return _verify_model(path, model_path)
    form = find_format(path)
    source = _given_model(model_path) if model_path else _model_of_run(path)
    _check_manifest(source)
    model = load_integer_model(source)
    _compare(form, path, model)
    manifest = _check_manifest(path)
    return {
        "kind": f"{form.title}; every layer holds {form.holds} bit for bit",
        "file": path.name,
        "size_bytes": path.stat().st_size,
        "integer_model": str(source),
        "layers": [layer.name for layer in model.layers],
        "compared": form.compared,
        "manifest": f"SHA-256 as in {manifest}" if manifest else "none lists this file",
    }


def _verify_model(path: Path, model_path: Path | None) -> dict[str, Any]:
    """The facts of an integer model that equals another one, or what was written from it."""
    model, compared = verify_model(path, _given_model(model_path) if model_path else None)
    manifest = _check_manifest(path)
    return {
        "kind": "integer model; every layer is what was written from it",
        "file": path.name,
        "size_bytes": path.stat().st_size,
        "layers": [layer.name for layer in model.layers],
        "compared": compared,
        "manifest": f"SHA-256 as in {manifest}" if manifest else "none lists this file",
    }


def find_format(path: Path) -> Format:
    """How to read a file: by its name, or as a program with C tables where it holds their symbols."""
    for form in FORMATS:
        if any(path.match(pattern) for pattern in form.patterns):
            return form
    content = path.read_bytes()
    if content[:4] == ELF_MAGIC and WEIGHTS_SYMBOL in content:
        return FORMATS[-1]
    known = ", ".join([MODEL_FILE, *(pattern for form in FORMATS for pattern in form.patterns)])
    raise ConfigError(f"{path}: holds no integers of the model that could be compared; files that do: {known}")


def _given_model(path: Path) -> Path:
    for candidate in (path, path / MODEL_FILE, path / "convert" / MODEL_FILE):
        if candidate.is_file():
            return candidate
    raise ArtefactError(f"{path}: no {MODEL_FILE} there; give the file, a convert folder or a run folder")


def _model_of_run(path: Path) -> Path:
    """The integer model beside the file or in the convert folder of the run around it."""
    for folder in path.resolve().parents:
        for candidate in (folder / MODEL_FILE, folder / "convert" / MODEL_FILE):
            if candidate.is_file():
                return candidate
    raise ArtefactError(
        f"{path}: not in a run's folder, so there is no {MODEL_FILE} to compare with; give --model PATH"
    )


def _check_manifest(path: Path) -> Path | None:
    """The manifest that lists the file, after its hash was compared; None where there is no such manifest."""
    resolved = path.resolve()
    for folder in resolved.parents:
        if not (folder / MANIFEST_NAME).is_file():
            continue
        entry = read_manifest(folder).files.get(resolved.relative_to(folder).as_posix())
        if entry is not None and entry.sha256 != sha256_file(path):
            raise Mismatch(
                f"{path}: layer none: all layers are whole, but SHA-256 differs from {folder / MANIFEST_NAME}; "
                "the file was altered outside its weights; run the stage again"
                if path.name != MODEL_FILE
                else f"{path}: SHA-256 differs from {folder / MANIFEST_NAME}; the integer model itself was altered; convert again"
            )
        return None if entry is None else folder / MANIFEST_NAME
    return None


def _compare(form: Format, path: Path, model: IntegerModel) -> None:
    """Compare; whatever a reader makes of a damaged file becomes one `Mismatch` with a layer."""
    try:
        form.compare(path, model)
    except (Mismatch, ToolMissing):
        raise
    except Exception as error:  # each format's library raises its own
        layer = first_damaged_layer(path.read_bytes(), model, form.is_whole)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Mismatch(f"{path}: {layer}; the file is truncated or damaged ({reason}); run the stage again") from error


def first_damaged_layer(content: bytes, model: IntegerModel, is_whole: Callable[[bytes, Any], bool]) -> str:
    """Which layer a damaged file has lost, in words."""
    for layer in model.layers:
        if not is_whole(content, layer):
            return f"layer {layer.name} is the first that is not whole in it"
    return f"layer {model.layers[0].name} and all after it can no longer be read, though their weights may be whole"
