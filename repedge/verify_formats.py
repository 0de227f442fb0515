"""The formats that hold the integer model: how each is compared with it, and which layers a damaged file still has."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.c_layers import layer_symbol, layer_tables
from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from train.errors import Mismatch

Layer = QuantizedConv | QuantizedFullyConnected


@dataclass(frozen=True)
class Format:
    """`patterns` are globs of file names; `is_whole` says whether a layer's weights lie undamaged in a file's bytes."""

    title: str
    patterns: tuple[str, ...]
    compared: str
    compare: Callable[[Path, IntegerModel], None]
    is_whole: Callable[[bytes, Layer], bool]
    holds: str = "the integer model's values"


def _weight(layer: Layer) -> np.ndarray:
    return layer.weight_ohwi if isinstance(layer, QuantizedConv) else layer.weight_oi


# TFLite


def _compare_tflite(path: Path, model: IntegerModel) -> None:
    from convert.tflite_exact import verify_tflite

    verify_tflite(model, path)


def _whole_in_tflite(content: bytes, layer: Layer) -> bool:
    from convert.tflite_exact import pack_int4

    weight = _weight(layer)
    stored = weight.tobytes() in content or pack_int4(weight).tobytes() in content
    return stored and layer.bias.tobytes() in content and f"{layer.name}/weight".encode() in content


# Vela's TFLite: weights are encoded, so only decoding tells


def _compare_vela(path: Path, model: IntegerModel) -> None:
    from repedge.verify_vela import compare_vela

    compare_vela(path, model)


# Float nets


def _compare_float(path: Path, model: IntegerModel) -> None:
    """ONNX against float32 TFLite, and both TFLite files against ONNX."""
    from convert.float_reader import compare_parameters, read_float_onnx, read_float_tflite
    from convert.onnx_float import FILE_NAME as ONNX_FILE
    from convert.tflite_float import FILE_NAME as TFLITE_FILE

    layers = [layer.name for layer in model.layers]
    found = read_float_onnx(path.with_name(ONNX_FILE), layers)
    other = read_float_tflite(path.with_name(TFLITE_FILE) if path.name == ONNX_FILE else path)
    compare_parameters(str(path), layers, other, found)


# ONNX


def _compare_onnx(path: Path, model: IntegerModel) -> None:
    from convert.onnx_integer import verify_integer_onnx
    from convert.onnx_qdq import FILE_NAME, verify_qdq_onnx

    (verify_qdq_onnx if path.name == FILE_NAME else verify_integer_onnx)(model, path)


def _whole_in_integer_onnx(content: bytes, layer: Layer) -> bool:
    return all(table.tobytes() in content for table in layer_tables(layer).values())


def _whole_in_qdq(content: bytes, layer: Layer) -> bool:
    weight = _weight(layer)
    oihw = np.ascontiguousarray(weight.transpose(0, 3, 1, 2)) if weight.ndim == 4 else weight
    return oihw.tobytes() in content and layer.bias.tobytes() in content


# C tables


def _compare_c(path: Path, model: IntegerModel) -> None:
    """The tables are decoded; the rest (assertions, banners) must be what the writer writes."""
    from convert.c_source import read_c_model, verify_c_model, write_c_model
    from repedge.kernels_found import plan_of_tables

    plan = plan_of_tables(model, read_c_model(path.parent).layers)
    written = verify_c_model(model, path.parent, plan)
    with tempfile.TemporaryDirectory(prefix="repedge-c-") as name:
        write_c_model(model, Path(name), source_hash=written.source_hash, plan=plan)
        for expected in sorted(Path(name).iterdir()):
            found = path.with_name(expected.name)
            if found.read_bytes() != expected.read_bytes():
                layer = _layer_of_difference(found.read_text(), expected.read_text(), model)
                raise Mismatch(f"{found}: layer {layer}: differs outside the tables; run the convert stage again")


def _layer_of_difference(found: str, expected: str, model: IntegerModel) -> str:
    """The layer whose comment stands last before the first difference, or the first layer."""
    pairs = enumerate(zip(found, expected, strict=False))
    same = next((position for position, (a, b) in pairs if a != b), min(len(found), len(expected)))
    names = [layer.name for layer in model.layers]
    return max(names, key=lambda name: expected.rfind(f"/* {name} */", 0, same))


def _whole_in_c(content: bytes, layer: Layer) -> bool:
    """All of its tables are closed."""
    text, symbol = content.decode(errors="replace"), re.escape(layer_symbol(layer.name))
    return all(re.search(rf"\b{symbol}_{name}\[\d+\] = \{{[^;]*\}};", text) for name in layer_tables(layer))


# TVM


def _compare_tvm_module(path: Path, model: IntegerModel) -> None:
    import tvm

    from convert.tvm_module import build_tvm_module, kernel_calls, load_tvm_module, verify_tvm_module

    module = load_tvm_module(path)
    verify_tvm_module(module, model)
    expected = kernel_calls(build_tvm_module(model))
    for found, wanted, shape in zip(kernel_calls(module), expected, model.shapes(), strict=True):
        try:
            tvm.ir.assert_structural_equal(found.kernel, wanted.kernel)
        except ValueError as error:
            raise Mismatch(
                f"{path}: layer {shape.name}: its kernel is not the one of this model; run the convert stage again"
            ) from error


def _whole_in_tvm_module(content: bytes, layer: Layer) -> bool:
    """Constants are base64 of a header and the bytes."""
    from convert.tvm_module import layer_constants

    blobs = [_decoded(text) for text in re.findall(rb'"ffi\.Tensor","data":"([^"]*)"', content)]
    return all(any(blob.endswith(array.tobytes()) for blob in blobs) for array in layer_constants(layer).values())


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _compare_library(path: Path, model: IntegerModel) -> None:
    from convert.tvm_module import build_tvm_module, kernel_calls
    from deploy.elf_symbols import read_elf
    from deploy.tvm_build import ModelLibrary, verify_library
    from deploy.tvm_glue import plan_memory

    calls = kernel_calls(build_tvm_module(model))
    verify_library(ModelLibrary(path.parent, calls, plan_memory(calls), read_elf(path)), model)


def _compare_packed_library(path: Path, model: IntegerModel) -> None:
    content = path.read_bytes()
    for layer in model.layers:
        if not _whole_in_packed_library(content, layer):
            raise Mismatch(
                f"layer {layer.name}: its constants are not all in {path.name}; they must be, byte for byte; "
                "run the deploy stage again"
            )


def _whole_in_packed_library(content: bytes, layer: Layer) -> bool:
    """Constants lie in the executable's pool as they are; the section table (e_shoff, e_shentsize, e_shnum) ends the file."""
    from convert.tvm_module import layer_constants

    start, entry, count = (int.from_bytes(content[at:to], "little") for at, to in ((40, 48), (58, 60), (60, 62)))
    return start + entry * count <= len(content) and all(
        array.tobytes() in content for array in layer_constants(layer).values()
    )


# Firmware and host program


def _compare_program(path: Path, model: IntegerModel) -> None:
    from deploy.elf_symbols import read_elf
    from deploy.elf_weights import check_elf_weights
    from repedge.kernels_found import plan_of_program

    image = read_elf(path)
    check_elf_weights(image, model, plan_of_program(model, image))


def _whole_in_elf(content: bytes, layer: Layer) -> bool:
    """Tables and, in the string table at the end, the names that lead to them (C and TVM name them alike: `…indices`, `…bias`)."""
    tables = layer_tables(layer)
    name = layer_symbol(layer.name).removeprefix("model_").encode()
    return (
        all(tables[key].tobytes() in content for key in ("bias", "multiplier")) and name + b"_multiplier\0" in content
    )


FORMATS = (
    # first those with names of their own, last what any other program is read as
    Format(
        "Vela's TFLite file or its C array",
        ("*_vela.tflite", "model_vela.c"),
        "weight streams, biases, multipliers, scales, zero points and clamps, decoded",
        _compare_vela,
        lambda content, layer: True,
    ),
    Format(
        "exact TFLite file",
        ("model_int8.tflite", "model_int4.tflite"),
        "weights, biases, scales, zero points, clamps, strides",
        _compare_tflite,
        _whole_in_tflite,
    ),
    Format(
        "float net",
        ("model_float.onnx", "model_float.tflite", "model_float16.tflite"),
        "weights and biases, ONNX against TFLite",
        _compare_float,
        lambda content, layer: True,
        holds="the float net's values",
    ),
    Format(
        "integer ONNX graph",
        ("model_integer.onnx",),
        "packed indices, codebooks, biases, multipliers, shifts and every node",
        _compare_onnx,
        _whole_in_integer_onnx,
    ),
    Format(
        "QDQ ONNX graph",
        ("model_qdq.onnx",),
        "weights, biases, scales, zero points, clamps, strides and every node",
        _compare_onnx,
        _whole_in_qdq,
    ),
    Format(
        "C tables",
        ("model_data.c", "model_data.h"),
        "packed indices, codebooks, biases, multipliers, shifts, layer table, arena",
        _compare_c,
        _whole_in_c,
    ),
    Format(
        "TVM module",
        ("module.json",),
        "packed indices, codebooks, biases, multipliers, shifts and every kernel",
        _compare_tvm_module,
        _whole_in_tvm_module,
    ),
    Format(
        "shared library of TVM kernels",
        ("librepedge_model.so",),
        "packed indices, codebooks, biases, multipliers and shifts by symbol",
        _compare_library,
        _whole_in_elf,
    ),
    Format(
        "library for TVM's own runtime",
        ("librepedge_packed.so",),
        "packed indices, codebooks, biases, multipliers and shifts by content",
        _compare_packed_library,
        _whole_in_packed_library,
    ),
    Format(
        "program with the C tables",
        ("*.elf", "repedge_host"),
        "packed indices, codebooks, biases, multipliers and shifts by symbol",
        _compare_program,
        _whole_in_elf,
    ),
)
