"""Reading the C tables back: what the compiler will see, decoded and compared with the integer model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.c_layers import TABLE_TYPES, CLayer, c_layers, layer_symbol
from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from convert.kernel import KernelChoice, unpack_in_order
from convert.kernels_portable import PORTABLE
from convert.memory_plan import MemoryPlan, plan_memory
from convert.packing import row_bytes, unpack_indices
from convert.stored import stored_codebook, stored_layer
from train.errors import ArtefactError, Mismatch

HEADER_NAME = "model_data.h"
SOURCE_NAME = "model_data.c"
_DTYPES: dict[str, type[np.integer]] = {"uint8_t": np.uint8, "int8_t": np.int8, "int32_t": np.int32}


@dataclass(frozen=True)
class CModel:
    """The tables as written: `constants` of the header, arrays by symbol, the layer table's fields, class names."""

    source_hash: str
    constants: dict[str, int]
    arrays: dict[str, NDArray[np.integer]]
    layers: tuple[dict[str, str], ...]
    class_names: tuple[str, ...]


def read_c_model(folder: Path) -> CModel:
    """Parse `model_data.h` and `model_data.c`; `ArtefactError` where they are missing or not ours."""
    header, source = (_read(folder / name) for name in (HEADER_NAME, SOURCE_NAME))
    hashes = re.findall(r"sha256 (\S+)", header + source)
    if len(hashes) != 2 or hashes[0] != hashes[1]:
        raise ArtefactError(
            f"{folder}: C tables of {len(set(hashes))} models, allowed is one; run the convert stage again"
        )
    constants = {name: int(value) for name, value in re.findall(r"#define (MODEL_\w+) (\d+)u", header)}
    try:
        arrays = dict(_array(*match) for match in re.findall(r"const (\w+) (\w+)\[(\d+)\] = \{(.*?)\};", source, re.S))
    except (ValueError, KeyError, OverflowError) as error:
        raise ArtefactError(f"{folder / SOURCE_NAME}: damaged table ({error}); run the convert stage again") from error
    layers, names = _layer_fields(source), _class_names(source)
    if (len(layers), len(names)) != (constants.get("MODEL_LAYERS"), constants.get("MODEL_CLASSES")):
        raise ArtefactError(
            f"{folder / SOURCE_NAME}: {len(layers)} layers and {len(names)} class names, its header says otherwise; "
            "the file is truncated or altered; run the convert stage again"
        )
    return CModel(hashes[0], constants, arrays, layers, names)


def verify_c_model(model: IntegerModel, folder: Path, plan: MemoryPlan | None = None) -> CModel:
    """Compare the written tables with the model, exactly; `Mismatch` names the layer. Returns what was read.

    `plan` is the one they were written with.
    """
    written = read_c_model(folder)
    plan = plan or plan_memory(model)
    expected = c_layers(model, plan)
    if len(written.layers) != len(expected):
        raise Mismatch(f"{folder}: {len(written.layers)} layers, the integer model has {len(expected)}; convert again")
    if written.class_names != model.class_names:
        raise Mismatch(f"{folder}: class names differ from the integer model's; run the convert stage again")
    if written.constants.get("MODEL_ARENA_BYTES") != plan.arena_bytes:
        raise Mismatch(f"{folder}: arena differs from the plan's {plan.arena_bytes} bytes; run the convert stage again")
    weights = {layer.name: layer for layer in model.layers}
    for fields, layer, placement in zip(written.layers, expected, plan.placements, strict=True):
        _check_fields(layer, fields)
        if layer.name in weights:
            _check_tables(weights[layer.name], placement.choice, written.arrays)
    return written


def decode_indices(
    packed: NDArray[np.uint8], layer: QuantizedConv | QuantizedFullyConnected, choice: KernelChoice | None
) -> NDArray[np.uint8] | None:
    """The symbols, shaped as the stored layer's, in packed bytes of its kernel's order; None where the size cannot be right."""
    if isinstance(layer, QuantizedConv):
        order = choice.kernel.order if choice else PORTABLE.order
        return unpack_in_order(packed, layer.bit_width, order, layer.indices.shape)
    channels, count = layer.indices.shape
    if packed.size != channels * row_bytes(count, layer.bit_width):
        return None
    return unpack_indices(packed.reshape(channels, -1), layer.bit_width, count)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: missing or not text ({error}); the convert stage writes it") from error


def _array(c_type: str, symbol: str, size: str, body: str) -> tuple[str, NDArray[np.integer]]:
    values = [int(value) for value in body.split(",") if value.strip()]
    if len(values) != int(size):
        raise ValueError(f"{symbol} holds {len(values)} values, its size says {size}")
    array = np.array(values, np.int64)
    limits = np.iinfo(_DTYPES[c_type])
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise ValueError(f"{symbol} leaves {c_type}")
    return symbol, array.astype(_DTYPES[c_type])


def _layer_fields(source: str) -> tuple[dict[str, str], ...]:
    """The layer table's entries; C's `input.height` becomes `input_height`."""
    table = re.search(r"model_layers\[MODEL_LAYERS\] = \{\n(.*?)\n\};", source, re.S)
    entries = re.findall(r"^    \{.*?^    \},", table[1] if table else "", re.S | re.M)
    return tuple(
        {name.replace(".", "_"): value for name, value in re.findall(r"^ +\.([\w.]+) = (\S+),$", entry, re.M)}
        for entry in entries
    )


def _class_names(source: str) -> tuple[str, ...]:
    table = re.search(r"model_class_names\[MODEL_CLASSES\] = \{\n(.*?)\};", source, re.S)
    strings = re.findall(r'^    "(.*)",$', table[1] if table else "", re.M)
    return tuple(_unescape(text) for text in strings)


def _unescape(text: str) -> str:
    octal = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)
    return octal.encode("latin-1").decode()


def _check_fields(layer: CLayer, fields: dict[str, str]) -> None:
    expected = {name: str(value) for name, value in layer.scalars.items()}
    for name in TABLE_TYPES:
        expected[name] = f"{layer.symbol}_{name}" if name in layer.tables else "NULL"
    for name, value in expected.items():
        if fields.get(name) != value:
            raise Mismatch(
                f"layer {layer.name}: {name} is {fields.get(name)} in the C tables, the integer model says {value}; "
                "run the convert stage again"
            )


def _check_tables(
    layer: QuantizedConv | QuantizedFullyConnected, choice: KernelChoice | None, arrays: dict[str, NDArray[np.integer]]
) -> None:
    """Decode the layer's arrays and compare each with the model."""
    stored = stored_layer(layer)
    codebook = stored_codebook(stored)
    tables = {name: arrays.get(f"{layer_symbol(layer.name)}_{name}", np.zeros(0, np.int8)) for name in TABLE_TYPES}
    indices = decode_indices(tables["indices"].astype(np.uint8), stored, choice)
    if indices is None:
        raise Mismatch(f"layer {layer.name}: packed indices of another size; run the convert stage again")
    multiplier, shift = layer.requantization
    pairs: dict[str, tuple[NDArray[np.integer], NDArray[np.integer]]] = {
        "indices": (indices, stored.indices),
        "codebook": (tables["codebook"], np.zeros(0, np.int8) if codebook is None else codebook),
        "bias": (tables["bias"], layer.bias),
        "multiplier": (tables["multiplier"], multiplier),
        "shift": (tables["shift"], shift),
    }
    for name, (written, wanted) in pairs.items():
        if not np.array_equal(written, wanted):
            raise Mismatch(f"layer {layer.name}: {name} differs in the C tables; run the convert stage again")
