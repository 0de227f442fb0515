"""The integer model on disk: `integer_model.safetensors`, tensors by layer and everything else as JSON metadata.

Tensors `<layer>.codebook` int8, `.indices` uint8, `.weight_scale` float32, `.bias` int32, `.scales` float32 (input, output).
Metadata key `integer_model`: schema_version, input, class names and, per layer, kind, stride, widths and zero points.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from convert.integer_model import IntegerModel, Quantization, QuantizedConv, QuantizedFullyConnected
from train.artefact import write_bytes
from train.checkpoint import INTEGER_MODEL_FILE
from train.errors import ArtefactError

SCHEMA_VERSION = 1
FILE_NAME = INTEGER_MODEL_FILE


def save_integer_model(model: IntegerModel, path: Path) -> None:
    """Write the model; the file is whole or not there."""
    tensors: dict[str, np.ndarray] = {"input.scale": np.array([model.input.scale], np.float32)}
    layers = []
    for layer in model.layers:
        tensors[f"{layer.name}.codebook"] = layer.codebook
        tensors[f"{layer.name}.indices"] = np.ascontiguousarray(layer.indices)
        tensors[f"{layer.name}.weight_scale"] = layer.weight_scale
        tensors[f"{layer.name}.bias"] = layer.bias
        tensors[f"{layer.name}.scales"] = np.array([layer.input.scale, layer.output.scale], np.float32)
        layers.append(_layer_header(layer))
    header = {
        "schema_version": SCHEMA_VERSION,
        "input_hwc": model.input_hwc,
        "input_zero_point": model.input.zero_point,
        "class_names": model.class_names,
        "layers": layers,
    }
    write_bytes(path, save(tensors, {"integer_model": json.dumps(header)}))


def _layer_header(layer: QuantizedConv | QuantizedFullyConnected) -> dict[str, Any]:
    header = {
        "name": layer.name,
        "kind": "conv" if isinstance(layer, QuantizedConv) else "fully_connected",
        "bit_width": layer.bit_width,
        "input_zero_point": layer.input.zero_point,
        "output_zero_point": layer.output.zero_point,
    }
    if isinstance(layer, QuantizedConv):
        header |= {"stride": layer.stride, "activation_bits": layer.activation_bits}
    return header


def load_integer_model(path: Path) -> IntegerModel:
    """Read and check a model; `ArtefactError` says what is wrong with the file."""
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; the convert stage writes it")
    try:
        with safe_open(path, framework="numpy") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  not a dict
        header = json.loads(metadata["integer_model"])
        return _build(header, tensors)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ArtefactError(
            f"{path}: truncated or not a safetensors file ({error}); run the convert stage again"
        ) from error
    except KeyError as error:
        raise ArtefactError(
            f"{path}: no {error} in it; an integer model of schema {SCHEMA_VERSION} has one; run the convert stage again"
        ) from error
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}") from error


def _build(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> IntegerModel:
    if header["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version {header['schema_version']}, this version reads {SCHEMA_VERSION}; run the convert stage again"
        )
    layers = [_build_layer(entry, tensors) for entry in header["layers"]]
    convs = tuple(layer for layer in layers if isinstance(layer, QuantizedConv))
    classifier = layers[-1]
    if not isinstance(classifier, QuantizedFullyConnected) or len(convs) != len(layers) - 1:
        raise ValueError("layers must be convolutions and then one fully connected layer")
    return IntegerModel(
        input_hwc=tuple(header["input_hwc"]),
        convs=convs,
        classifier=classifier,
        class_names=tuple(header["class_names"]),
        input=Quantization(tensors["input.scale"][0], header["input_zero_point"]),
    )


def _build_layer(entry: dict[str, Any], tensors: dict[str, np.ndarray]) -> QuantizedConv | QuantizedFullyConnected:
    name = entry["name"]
    input_scale, output_scale = tensors[f"{name}.scales"]
    shared = {
        "name": name,
        "input": Quantization(input_scale, entry["input_zero_point"]),
        "output": Quantization(output_scale, entry["output_zero_point"]),
        "bit_width": entry["bit_width"],
        "codebook": tensors[f"{name}.codebook"],
        "indices": tensors[f"{name}.indices"],
        "weight_scale": tensors[f"{name}.weight_scale"],
        "bias": tensors[f"{name}.bias"],
    }
    if entry["kind"] == "conv":
        return QuantizedConv(**shared, stride=entry["stride"], activation_bits=entry["activation_bits"])
    return QuantizedFullyConnected(**shared)
