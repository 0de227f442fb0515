"""The integer model as a TVM module: Relax calls the kernels of `convert.tvm_kernels`, layer by layer.

The packed indices, codebooks, biases, multipliers and shifts are the module's constants (`relax.const`), as stored; no
tensor of expanded weights is in it. On disk it is TVM's own JSON, `tvm/module.json` of the convert folder.
Whoever builds from the module reads it back with `kernel_calls` and proves it with `verify_tvm_module`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx

from convert import tvm_kernels
from convert.integer_model import IntegerModel, LayerShape, QuantizedConv, QuantizedFullyConnected
from convert.packing import pack_indices, unpack_indices
from convert.stored import stored_codebook, stored_layer
from convert.tvm_rows import rows_convolution
from convert.tvm_schedule import PORTABLE, Schedule
from train.artefact import write_text
from train.errors import ArtefactError, Mismatch

FILE_NAME = "tvm/module.json"
CONSTANTS = (
    "packed",
    "codebook",
    "bias",
    "multiplier",
    "shift",
)  # kernel parameters in this order; no codebook where plain

Layer = QuantizedConv | QuantizedFullyConnected
Arrays = dict[str, NDArray[np.integer]]


@dataclass(frozen=True)
class TensorSpec:
    """A buffer of a kernel: parameter name, shape, numpy name of its type."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense buffer."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class KernelCall:
    """One call of the module's main function; kernel parameters run input, constants, scratch, output.

    `name` is the call's own; `symbol` is its kernel's, which layers of equal shape and quantization share.
    """

    name: str
    symbol: str
    kernel: tirx.PrimFunc
    input: TensorSpec
    constants: Arrays
    scratch: tuple[TensorSpec, ...]
    output: TensorSpec


def call_name(number: int, name: str) -> str:
    """C identifier of layer `number`'s call.

    >>> call_name(2, "stage1.0")
    'layer2_stage1_0'
    """
    return f"layer{number}_{re.sub('[^0-9A-Za-z]', '_', name)}"


def layer_constants(layer: Layer) -> Arrays:
    """What a kernel reads: packed (O, row_bytes) uint8, codebook (2^b,) int8, bias and multiplier (O,) int32, shift (O,) int8.

    A plain layer has no codebook. Codebook entries past the layer's own are zero and no index names them.
    """
    stored = stored_layer(layer)
    multiplier, shift = layer.requantization
    packed = pack_indices(stored.indices, stored.bit_width)
    arrays = (packed, stored_codebook(stored), layer.bias, multiplier, shift.astype(np.int8))
    return {name: array for name, array in zip(CONSTANTS, arrays, strict=True) if array is not None}


def _kernels(
    model: IntegerModel, schedules: Mapping[str, Schedule]
) -> Iterator[tuple[LayerShape, tirx.PrimFunc, Arrays]]:
    shapes = list(model.shapes())
    for conv, shape in zip(model.convs, shapes, strict=False):
        yield shape, _convolution(stored_layer(conv), shape, schedules.get(conv.name, PORTABLE)), layer_constants(conv)
    yield shapes[-2], tvm_kernels.average_pool(shapes[-2]), {}
    classifier = stored_layer(model.classifier)
    yield shapes[-1], tvm_kernels.fully_connected(classifier, shapes[-1]), layer_constants(classifier)


def _convolution(conv: QuantizedConv, shape: LayerShape, schedule: Schedule) -> tirx.PrimFunc:
    if schedule.vector == "portable":
        return tvm_kernels.convolution(conv, shape)
    return rows_convolution(conv, shape, schedule)


def build_tvm_module(model: IntegerModel, schedules: Mapping[str, Schedule] | None = None) -> tvm.IRModule:
    """Module whose `main` maps an int8 image (H, W, C) to int8 logits (classes,).

    `schedules` by layer name; a convolution without one gets the portable kernel, which any processor runs.
    """
    builder = relax.BlockBuilder()
    value = relax.Var("input", relax.TensorType(model.input_hwc, "int8"))
    with builder.function("main", [value]):
        with builder.dataflow():
            for number, (shape, kernel, constants) in enumerate(_kernels(model, schedules or {})):
                name = call_name(number, shape.name)
                function = builder.add_func(kernel, f"{shape.kind}_{number}")  # or an equal one that it has
                value = _emit_call(builder, name, function, value, constants)
            value = builder.emit_output(value)
        builder.emit_func_output(value)
    return builder.get()


def _emit_call(
    builder: relax.BlockBuilder, name: str, function: tvm.ir.GlobalVar, value: relax.Expr, constants: Arrays
) -> relax.Expr:
    """Emit one call; scratch is passed as results that nothing reads."""
    specs = _parameters(builder.get()[function])[1 + len(constants) :]
    results = [relax.TensorType(spec.shape, spec.dtype) for spec in specs]
    arguments = [value, *(relax.const(array, str(array.dtype)) for array in constants.values())]
    call = relax.call_tir(function, arguments, results if len(results) > 1 else results[0])
    called = builder.emit(call, name_hint=name)
    return builder.emit(relax.TupleGetItem(called, len(results) - 1)) if len(results) > 1 else called


def _parameters(kernel: tirx.PrimFunc) -> list[TensorSpec]:
    return [
        TensorSpec(str(buffer.name), tuple(int(extent) for extent in buffer.ty.shape), str(buffer.ty.dtype))
        for buffer in kernel.params
    ]


def kernel_calls(module: tvm.IRModule) -> tuple[KernelCall, ...]:
    """The calls of `main` in order, constants read out of the module."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    return tuple(_read_call(module, binding) for binding in bindings if isinstance(binding.value, relax.Call))


def _read_call(module: tvm.IRModule, binding: relax.VarBinding) -> KernelCall:
    function, arguments = binding.value.args[0], list(binding.value.args[1])
    kernel = module[function]
    first, *others = _parameters(kernel)
    arrays = [argument.value.numpy() for argument in arguments[1:]]
    constants = {spec.name: array for spec, array in zip(others, arrays, strict=False)}
    *scratch, output = others[len(arrays) :]
    name = str(binding.var.name)
    return KernelCall(name, str(function.name_hint), kernel, first, constants, tuple(scratch), output)


def verify_tvm_module(module: tvm.IRModule, model: IntegerModel) -> None:
    """Raise `Mismatch` naming the first layer whose constants, read back and decoded, are not the integer model's."""
    calls = kernel_calls(module)
    shapes = list(model.shapes())
    expected = [call_name(number, shape.name) for number, shape in enumerate(shapes)]
    if [call.name for call in calls] != expected:
        raise Mismatch(
            f"TVM module calls {', '.join(call.name for call in calls)}; "
            f"allowed is {', '.join(expected)}; run the convert stage again"
        )
    weighted = {layer.name: layer for layer in model.layers}
    for call, shape in zip(calls, shapes, strict=True):
        verify_constants(shape.name, call.constants, weighted.get(shape.name))


def verify_constants(name: str, constants: Arrays, layer: Layer | None) -> None:
    """Raise `Mismatch` unless `constants` are exactly the layer's and decode to its indices (None: a layer without any)."""
    expected = layer_constants(layer) if layer is not None else {}
    differing = sorted(expected.keys() ^ constants.keys()) or [
        key for key, array in expected.items() if not _is_equal(array, constants[key])
    ]
    if layer is not None and not differing:
        stored = stored_layer(layer)
        indices = unpack_indices(constants["packed"].astype(np.uint8), stored.bit_width, layer.indices[0].size)
        if not np.array_equal(stored.codebook[indices].reshape(layer.indices.shape), layer.codebook[layer.indices]):
            differing = ["packed (decoded)"]
    if differing:
        raise Mismatch(
            f"layer {name}: {', '.join(differing)} read back differ from the integer model; "
            "they must be equal; run the convert stage again"
        )


def _is_equal(expected: NDArray[np.integer], found: NDArray[np.integer]) -> bool:
    return expected.dtype == found.dtype and np.array_equal(expected, found)


def save_tvm_module(module: tvm.IRModule, path: Path) -> None:
    """Write TVM's JSON of the module, whole or not at all."""
    write_text(path, tvm.ir.save_json(module))


def load_tvm_module(path: Path) -> tvm.IRModule:
    """Read a module; `ArtefactError` where the file is missing or damaged."""
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; the convert stage writes it; run it again")
    try:
        module = tvm.ir.load_json(path.read_text())
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise ArtefactError(f"{path}: truncated or not a TVM module ({error}); run the convert stage again") from error
    if not isinstance(module, tvm.IRModule):
        raise ArtefactError(f"{path}: holds a {type(module).__name__}, not a TVM module; run the convert stage again")
    return module


def write_tvm_module(model: IntegerModel, folder: Path) -> Path:
    """Build the module, write it into the convert folder, read it back and verify it; its path."""
    path = folder / FILE_NAME
    save_tvm_module(build_tvm_module(model), path)
    verify_tvm_module(load_tvm_module(path), model)
    return path
