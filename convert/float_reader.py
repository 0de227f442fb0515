"""The parameters of the float files read back: ONNX, and onnx2tf's float32 and float16 TFLite.

One net is in three files, so each is the others' check: parameters must be equal bit for bit, in float16 after one rounding.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import numpy_helper

from train.errors import ArtefactError, Mismatch

Parameters = list[tuple[NDArray[np.floating], NDArray[np.floating]]]  # (weight OHWI or OI, bias) by layer
Operator = schema.BuiltinOperator
TYPES = {schema.TensorType.FLOAT32: np.dtype("<f4"), schema.TensorType.FLOAT16: np.dtype("<f2")}


def read_float_onnx(path: Path, layers: Sequence[str]) -> Parameters:
    """Weights and biases of these layers; `ArtefactError` where the file is damaged or of another form."""
    try:
        tables = {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
        pairs = [(tables[f"{name}.weight"], tables[f"{name}.bias"]) for name in layers]
    except Exception as error:  # protobuf's own errors have no common base
        raise ArtefactError(f"{path}: not a float net of ours ({error}); run the convert stage again") from error
    # OIHW -> OHWI
    return [(weight.transpose(0, 2, 3, 1) if weight.ndim == 4 else weight, bias) for weight, bias in pairs]


def read_float_tflite(path: Path) -> Parameters:
    """Weights and biases in the order of the operators; float16 where the file has them so."""
    try:
        return _Reader(path.read_bytes()).parameters()
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise ArtefactError(f"{path}: not a float net of onnx2tf's ({error}); run the convert stage again") from error


class _Reader:
    """Walks the operators in order; a float16 parameter reaches its operator through a DEQUANTIZE."""

    def __init__(self, content: bytes) -> None:
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph = self.model.subgraphs[0]
        codes = [self.model.operatorCodes[operator.opcodeIndex].builtinCode for operator in self.graph.operators]
        self.operators = list(zip(codes, self.graph.operators, strict=True))
        self.expanded = {op.outputs[0]: op.inputs[0] for code, op in self.operators if code == Operator.DEQUANTIZE}

    def parameters(self) -> Parameters:
        kinds = (Operator.CONV_2D, Operator.FULLY_CONNECTED)
        found = [
            (self._constant(op.inputs[1]), self._constant(op.inputs[2])) for code, op in self.operators if code in kinds
        ]
        return [(weight, bias) for weight, bias in found]

    def _constant(self, number: int) -> NDArray[np.floating]:
        tensor = self.graph.tensors[self.expanded.get(number, number)]
        data = self.model.buffers[tensor.buffer].data
        values: NDArray[np.floating] = data.view(TYPES[tensor.type]).reshape(tensor.shape)
        return values


def compare_parameters(source: str, layers: Sequence[str], found: Parameters, expected: Parameters) -> None:
    """`Mismatch` names the first layer whose parameters differ; `expected` is float32, rounded once to `found`'s type."""
    if len(found) != len(layers):
        raise Mismatch(
            f"{source}: layer {layers[-1]}: {len(found)} layers, {len(layers)} are expected; run convert again"
        )
    for name, have, want in zip(layers, found, expected, strict=True):
        for what, actual, wanted in zip(("weight", "bias"), have, want, strict=True):
            rounded = wanted.astype(actual.dtype)
            if actual.shape != rounded.shape or actual.tobytes() != np.ascontiguousarray(rounded).tobytes():
                raise Mismatch(
                    f"{source}: layer {name}, {what}: differs from the other float file of the run; one of the two was "
                    "altered, or they are not of one conversion; run the convert stage again"
                )
