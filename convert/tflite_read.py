"""Read an int8 or int4 TFLite file of our form back into facts; anything else in it is an `ArtefactError`."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.integer_model import Quantization
from convert.tflite_facts import TfliteLayer, TfliteNetwork
from train.errors import ArtefactError

Operator = schema.BuiltinOperator
Activation = schema.ActivationFunctionType
FILE_IDENTIFIER = b"TFL3"


def fused_clamp(activation: int, output: Quantization) -> tuple[int, int]:
    """(lowest, highest) int8 output, computed as TFLite's CalculateActivationRangeQuantized does, in float32."""
    if activation == Activation.NONE:
        return -128, 127
    if activation == Activation.RELU:
        return max(-128, output.zero_point), 127
    if activation == Activation.RELU6:
        levels = np.float32(6.0) / output.scale
        top = output.zero_point + int(np.floor(np.float64(levels) + 0.5))  # TfLiteRound: half away from zero
        return max(-128, output.zero_point), min(127, top)
    raise ValueError(f"fused activation {activation}, allowed are NONE, RELU and RELU6")


def read_tflite(path: Path) -> TfliteNetwork:
    """The facts of a file; `ArtefactError` where it is missing, damaged or of another form."""
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; the convert stage writes it")
    content = path.read_bytes()
    if content[4:8] != FILE_IDENTIFIER:
        raise ArtefactError(f"{path}: not a TFLite file; it has {FILE_IDENTIFIER!r} at byte 4; run convert again")
    try:
        return _Reader(content).network()
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not an exact int8 net of ours ({error}); run the convert stage again") from error


def _reject(what: str) -> NoReturn:
    raise ValueError(what)


class _Reader:
    """Walks the operators in order; a flatbuffer has no other order of its layers."""

    def __init__(self, content: bytes) -> None:
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph = self.model.subgraphs[0]

    def network(self) -> TfliteNetwork:
        """Facts of the whole file, with the form of the graph checked on the way."""
        (value,) = self.graph.inputs
        source = self.graph.tensors[value]
        layers: list[TfliteLayer] = []
        padded, pooled = False, False
        for operator in self.graph.operators:
            code = self.model.operatorCodes[operator.opcodeIndex].builtinCode
            if operator.inputs[0] != value:
                _reject(f"operator {len(layers)} does not take the value before it")
            if code == Operator.CONV_2D:
                layers.append(self._convolution(operator, padded))
            elif code == Operator.FULLY_CONNECTED and pooled:
                layers.append(self._layer(operator, 0, operator.builtinOptions.fusedActivationFunction))
            elif code == Operator.AVERAGE_POOL_2D:
                self._check_pool(operator)
                pooled = True
            elif code == Operator.PAD:
                self._check_pad(operator)
            elif code != Operator.RESHAPE:
                _reject(f"operator {code}")
            padded = code == Operator.PAD
            value = operator.outputs[0]
        if list(self.graph.outputs) != [value]:
            _reject("the last operator does not give the output")
        height, width, channels = (int(size) for size in source.shape[1:])
        return TfliteNetwork((height, width, channels), self._quantization(source), tuple(layers))

    def _convolution(self, operator: schema.OperatorT, padded: bool) -> TfliteLayer:
        options = operator.builtinOptions
        stride, dilation = options.strideH, options.dilationHFactor
        if (options.strideW, options.dilationWFactor, dilation) != (stride, 1, 1):
            _reject("a convolution with unequal strides or with dilation")
        expected = schema.Padding.VALID if padded else schema.Padding.SAME
        if options.padding != expected or padded != (stride == 2):
            _reject(f"padding of a stride-{stride} convolution")
        return self._layer(operator, stride, options.fusedActivationFunction)

    def _layer(self, operator: schema.OperatorT, stride: int, activation: int) -> TfliteLayer:
        source, weight, bias = (self.graph.tensors[index] for index in operator.inputs)
        result = self.graph.tensors[operator.outputs[0]]
        output = self._quantization(result)
        clamp_min, clamp_max = fused_clamp(activation, output)
        return TfliteLayer(
            result.name.decode(),
            stride,
            self._quantization(source),
            output,
            clamp_min,
            clamp_max,
            self._weight(weight),
            self._scales(weight),
            self._data(bias, schema.TensorType.INT32, np.int32),
            self._scales(bias),
        )

    def _check_pad(self, operator: schema.OperatorT) -> None:
        source, padding = (self.graph.tensors[index] for index in operator.inputs)
        if self._data(padding, schema.TensorType.INT32, np.int32).tolist() != [[0, 0], [1, 1], [1, 1], [0, 0]]:
            _reject("PAD by other than one pixel on each side")
        self._check_same_quantization(source, operator)

    def _check_pool(self, operator: schema.OperatorT) -> None:
        source, options = self.graph.tensors[operator.inputs[0]], operator.builtinOptions
        if [options.filterHeight, options.filterWidth] != list(source.shape[1:3]):
            _reject("pooling over less than the whole image")
        if options.padding != schema.Padding.VALID or options.fusedActivationFunction != Activation.NONE:
            _reject("pooling with padding or activation")
        self._check_same_quantization(source, operator)

    def _check_same_quantization(self, source: schema.TensorT, operator: schema.OperatorT) -> None:
        if self._quantization(source) != self._quantization(self.graph.tensors[operator.outputs[0]]):
            _reject("PAD or pooling that changes the quantization")

    def _data(self, tensor: schema.TensorT, kind: int, dtype: type[np.generic]) -> np.ndarray:
        if tensor.type != kind:
            _reject(f"tensor {tensor.name!r} of type {tensor.type}")
        raw = self.model.buffers[tensor.buffer].data
        return np.frombuffer(raw.tobytes(), dtype).reshape([int(size) for size in tensor.shape])

    def _weight(self, tensor: schema.TensorT) -> np.ndarray:
        """int8 weights as stored, or int4 ones widened: two a byte, the first in the low half."""
        if tensor.type != schema.TensorType.INT4:
            return self._data(tensor, schema.TensorType.INT8, np.int8)
        raw = np.frombuffer(self.model.buffers[tensor.buffer].data.tobytes(), np.uint8)
        shape = [int(size) for size in tensor.shape]
        halves = np.stack([raw & 0x0F, raw >> 4], axis=-1).reshape(-1)[: np.prod(shape)]
        return ((halves.astype(np.int8) ^ 8) - 8).reshape(shape)

    @staticmethod
    def _scales(tensor: schema.TensorT) -> np.ndarray:
        quantization = tensor.quantization
        if quantization.quantizedDimension != 0 or np.any(quantization.zeroPoint):
            _reject(f"tensor {tensor.name!r} with a zero point or another axis")
        return np.array(quantization.scale, np.float32)

    @staticmethod
    def _quantization(tensor: schema.TensorT) -> Quantization:
        if tensor.type != schema.TensorType.INT8:
            _reject(f"tensor {tensor.name!r} of type {tensor.type}")
        (scale,), (zero_point,) = tensor.quantization.scale, tensor.quantization.zeroPoint
        return Quantization(np.float32(scale), int(zero_point))
