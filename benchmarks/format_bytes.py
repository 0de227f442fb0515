"""What each artefact of a net holds, read back from the finished file: bytes of weights by layer, other constants, the file.

Weights are indices, codebook and the padding behind them (int8 or int4 values where a format has no codebook; encoded
streams on Ethos-U). Biases, multipliers, shifts and scales are the other constants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from convert.c_layers import layer_symbol, layer_tables
from convert.integer_model import IntegerModel
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.onnx_integer import FILE_NAME as ONNX_FILE
from convert.onnx_integer import write_integer_onnx
from convert.tflite_exact import FILE_NAME as INT8_FILE
from convert.tflite_exact import write_tflite
from convert.tflite_int4 import FILE_NAME as INT4_FILE
from convert.tflite_int4 import write_int4_tflite
from convert.tvm_module import write_tvm_module
from convert.vectors import Vectors
from deploy.cortex_m import target_plan, write_tables
from deploy.elf_sizes import measure_image, padded_tables, padded_weights
from deploy.elf_symbols import read_elf
from deploy.ethos_u import compile_net
from deploy.firmware_build import build_firmware
from deploy.result import ConvertedModel
from deploy.targets import CortexATarget, CortexMTarget, EthosUTarget, load_target
from deploy.tvm_build import LIBRARY_NAME, build_library, cortex_a_target
from deploy.tvm_glue import constant_symbol

WEIGHT_TABLES = ("indices", "codebook")
OTHER_TABLES = ("bias", "multiplier", "shift")


@dataclass(frozen=True)
class ArtefactBytes:
    """`weight_bytes` and `other_bytes` by layer; `file_bytes` is the file, of firmware its flash."""

    weight_bytes: Mapping[str, int]
    other_bytes: Mapping[str, int]
    file_bytes: int


def firmware(model: IntegerModel, name: str, folder: Path) -> ArtefactBytes:
    """The firmware image with the kernels chosen for the target."""
    target = load_target(name)
    assert isinstance(target, CortexMTarget)
    tables = write_tables(model, target_plan(model, target), folder / "model")
    image = read_elf(build_firmware(tables, target.core, folder / "build"))
    sizes = padded_weights(image)
    weights, other = _by_layer(model, lambda layer, table: sizes[f"{layer_symbol(layer)}_{table}"])
    return ArtefactBytes(weights, other, measure_image(image).flash.total)


def _by_layer(model: IntegerModel, size: Callable[[str, str], int]) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of weights and of other constants by layer, from the size of one layer's table."""
    tables = {layer.name: set(layer_tables(layer)) for layer in model.layers}  # a plain layer has no codebook

    def total(wanted: Sequence[str]) -> dict[str, int]:
        return {name: sum(size(name, table) for table in wanted if table in own) for name, own in tables.items()}

    return total(WEIGHT_TABLES), total(OTHER_TABLES)


def tvm_library(model: IntegerModel, name: str, folder: Path) -> ArtefactBytes:
    """The shared library of TVM's kernels."""
    target = load_target(name)
    assert isinstance(target, CortexATarget)
    converted = folder / "convert"
    save_integer_model(model, converted / MODEL_FILE)
    write_tvm_module(model, converted)
    labels = np.zeros(0, np.uint8)
    nothing = Vectors(np.zeros((0, *model.input_hwc), np.uint8), labels, np.zeros((0, 0), np.int8))
    library = build_library(ConvertedModel(converted, model, nothing), cortex_a_target(target), folder / "build")
    calls = {shape.name: call for call, shape in zip(library.calls, model.shapes(), strict=True)}
    symbols = [constant_symbol(call, table) for call in library.calls for table in call.constants]
    sizes = padded_tables(library.image, re.compile("|".join(map(re.escape, symbols))))

    def table_bytes(layer: str, *, other: bool) -> int:
        tables = [table for table in calls[layer].constants if (table in OTHER_TABLES) == other]
        return sum(sizes[constant_symbol(calls[layer], table)] for table in tables)

    weights = {layer.name: table_bytes(layer.name, other=False) for layer in model.layers}
    other = {layer.name: table_bytes(layer.name, other=True) for layer in model.layers}
    return ArtefactBytes(weights, other, (folder / "build" / LIBRARY_NAME).stat().st_size)


def tflite_int8(model: IntegerModel, folder: Path) -> ArtefactBytes:
    """The exact int8 file."""
    write_tflite(model, folder / INT8_FILE)
    return _tflite(model, folder / INT8_FILE)


def tflite_int4(model: IntegerModel, folder: Path) -> ArtefactBytes | None:
    """The file with int4 weights where codebooks lie on that grid; None where none does."""
    return _tflite(model, folder / INT4_FILE) if write_int4_tflite(model, folder / INT4_FILE) else None


def _tflite(model: IntegerModel, path: Path) -> ArtefactBytes:
    """Weight and bias buffers, and scales (4 bytes) with zero points (8) of both tensors."""
    content = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    tensors = {tensor.name.decode(): tensor for tensor in content.subgraphs[0].tensors}

    def buffer_bytes(name: str) -> int:
        return len(content.buffers[tensors[name].buffer].data)

    def quantization_bytes(name: str) -> int:
        found = tensors[name].quantization
        return 4 * len(found.scale) + 8 * len(found.zeroPoint)

    names = [layer.name for layer in model.layers]
    other = {
        name: buffer_bytes(f"{name}/bias") + sum(quantization_bytes(f"{name}/{part}") for part in ("weight", "bias"))
        for name in names
    }
    return ArtefactBytes({name: buffer_bytes(f"{name}/weight") for name in names}, other, path.stat().st_size)


def onnx_integer(model: IntegerModel, folder: Path) -> ArtefactBytes:
    """The integer graph, which holds packed indices."""
    write_integer_onnx(model, folder / ONNX_FILE)
    tables = onnx.load(folder / ONNX_FILE).graph.initializer
    sizes = {table.name: len(table.raw_data) for table in tables}
    weights, other = _by_layer(model, lambda layer, table: sizes[f"{layer}/{table}"])
    return ArtefactBytes(weights, other, (folder / ONNX_FILE).stat().st_size)


def ethos_u(model: IntegerModel, name: str, folder: Path) -> ArtefactBytes:
    """Vela's file, decoded and compared with the model; scale records are the other constants."""
    target = load_target(name)
    assert isinstance(target, EthosUTarget)
    write_tflite(model, folder / INT8_FILE)
    compiled = compile_net(model, folder / INT8_FILE, target, folder / "vela")
    return ArtefactBytes(
        {layer.name: layer.weight_bytes for layer in compiled.streams},
        {layer.name: layer.scale_bytes for layer in compiled.streams},
        compiled.report.path.stat().st_size,
    )


ARTEFACTS: dict[str, Callable[[IntegerModel, Path], ArtefactBytes | None]] = {
    "firmware cortex-m4": lambda model, folder: firmware(model, "cortex-m4", folder),
    "tvm cortex-a53": lambda model, folder: tvm_library(model, "cortex-a53", folder),
    "onnx integer": onnx_integer,
    "tflite int8": tflite_int8,
    "tflite int4": tflite_int4,
    "vela ethos-u55-128": lambda model, folder: ethos_u(model, "ethos-u55-128", folder),
    "vela ethos-u65-512": lambda model, folder: ethos_u(model, "ethos-u65-512", folder),
    "vela ethos-u85-256": lambda model, folder: ethos_u(model, "ethos-u85-256", folder),
}
