"""Is `integer_model.safetensors` itself whole? It is what other files are compared with, so they are what it is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from convert import onnx_integer, tflite_exact
from convert.integer_model import IntegerModel
from convert.integer_model_file import load_integer_model
from train.errors import ArtefactError, Mismatch

FIELDS = ("bit_width", "codebook", "indices", "weight_scale", "bias", "input", "output")


def verify_model(path: Path, other: Path | None) -> tuple[IntegerModel, str]:
    """The model, and what it was compared with: `other`, or what was written from it beside it.

    `Mismatch` names the layer that differs or that a cut file has lost.
    """
    try:
        model = load_integer_model(path)
    except ArtefactError as error:
        raise Mismatch(f"{path}: {_lost_layer(path.read_bytes())}; {error}") from error
    if other is not None and other.resolve() != path.resolve():
        _compare_models(path, model, load_integer_model(other))
        return model, str(other)
    compared = [name for name, _ in _compare_written(path, model)]
    return model, ", ".join(compared) or "its manifest alone: nothing that was written from it lies beside it"


def _compare_written(path: Path, model: IntegerModel) -> Iterator[tuple[str, None]]:
    """Scales and weights in the exact TFLite file, bits as stored in the integer ONNX graph."""
    written = {
        tflite_exact.FILE_NAME: tflite_exact.verify_tflite,
        onnx_integer.FILE_NAME: onnx_integer.verify_integer_onnx,
    }
    for name, compare in written.items():
        if path.with_name(name).is_file():
            try:
                yield name, compare(model, path.with_name(name))
            except Mismatch as error:
                raise Mismatch(f"{path} or what was written from it was altered: {error}") from error


def _compare_models(path: Path, found: IntegerModel, wanted: IntegerModel) -> None:
    for layer, other in zip(found.layers, wanted.layers, strict=False):
        for field in ("name", *FIELDS):
            if not np.array_equal(getattr(layer, field), getattr(other, field)):
                raise Mismatch(f"{path}: layer {layer.name}, {field}: differs from the other model; convert again")
    if len(found.layers) != len(wanted.layers):
        raise Mismatch(f"{path}: {len(found.layers)} layers, the other model has {len(wanted.layers)}; convert again")


def _lost_layer(content: bytes) -> str:
    """The first layer with a tensor that ends past a cut file, by the header at its start."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        names = [entry["name"] for entry in json.loads(header["__metadata__"]["integer_model"])["layers"]]
        ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError):
        return "no layer can be read any more"
    for name in names:
        if any(key.startswith(f"{name}.") and 8 + length + end > len(content) for key, end in ends.items()):
            return f"layer {name} is the first that is not whole in it"
    return f"layer {names[0]} and all after it can no longer be read"
