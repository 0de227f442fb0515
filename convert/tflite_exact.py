"""The integer model as an int8 TFLite file whose weights, scales and zero points are exactly ours.

    image -> [PAD] CONV_2D … -> AVERAGE_POOL_2D -> RESHAPE -> FULLY_CONNECTED -> logits

A stride-2 layer is PAD by one pixel on each side and a VALID convolution: TFLite's own SAME padding puts both pixels
at the end for even sizes. ReLU is fused as RELU at 8 activation bits and as RELU6 below, where the lowering has set
the scale so that 6.0 is the top level. Constants start at multiples of 16 bytes in the file. Convolutions may store
their weights as int4 where the codebook allows it (`convert.tflite_int4`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.integer_model import IntegerModel, LayerShape, Quantization, QuantizedConv, QuantizedFullyConnected
from convert.tflite_facts import bias_scales, compare_facts, network_facts
from convert.tflite_read import fused_clamp, read_tflite
from train.artefact import write_bytes
from train.errors import UnsupportedLayer

FILE_NAME = "model_int8.tflite"
BUFFER_ALIGNMENT_BYTES = 16
SCHEMA_VERSION = 3
PADDING = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)  # N, H, W, C: before, after

Operator = schema.BuiltinOperator
Options = schema.BuiltinOptions
Activation = schema.ActivationFunctionType

# Lowest versions of each operator that take int8 with one scale per channel.
OPERATOR_VERSIONS = {
    Operator.PAD: 2,
    Operator.CONV_2D: 3,
    Operator.AVERAGE_POOL_2D: 2,
    Operator.RESHAPE: 1,
    Operator.FULLY_CONNECTED: 4,
}
INT4_CONVOLUTION_VERSION = 7


def write_tflite(model: IntegerModel, path: Path) -> None:
    """Write the file and compare what was written with the model."""
    write_bytes(path, build_tflite(model))
    verify_tflite(model, path)


def verify_tflite(model: IntegerModel, path: Path) -> None:
    """Raise `Mismatch` naming layer and tensor where the file is not the model, bit for bit."""
    compare_facts(network_facts(model), read_tflite(path), str(path))


def build_tflite(model: IntegerModel, *, int4_layers: Collection[str] = ()) -> bytes:
    """The file's bytes; convolutions named in `int4_layers` store int4 weights."""
    graph = _Graph(f"RepEdge convert.tflite_exact; facts sha256 {network_facts(model).digest()}")
    height, width, channels = model.input_hwc
    value = graph.add_tensor("image", (1, height, width, channels), model.input)
    graph.subgraph.inputs = [value]
    shapes = {shape.name: shape for shape in model.shapes()}
    for conv in model.convs:
        value = _add_convolution(graph, conv, value, shapes[conv.name], int4=conv.name in int4_layers)
    value = _add_pool(graph, model.classifier.input, value, shapes["pool"].input_hwc)
    graph.subgraph.outputs = [_add_classifier(graph, model.classifier, value)]
    return graph.to_bytes()


def fused_activation(conv: QuantizedConv) -> int:
    """RELU or RELU6, whichever TFLite turns into this layer's clamp; an error where neither does."""
    for activation in (Activation.RELU, Activation.RELU6):
        if fused_clamp(activation, conv.output) == (conv.clamp_min, conv.clamp_max):
            return activation
    found = fused_clamp(Activation.RELU6, conv.output)[1]
    raise UnsupportedLayer(
        f"layer {conv.name}: RELU6 at output scale {conv.output.scale} has its top level at {found}, the layer needs "
        f"{conv.clamp_max}; lower with the scale 6 / (2^{conv.activation_bits} - 1)"
    )


class _AlignedBuffer(schema.BufferT):
    """A buffer whose data starts at a multiple of 16 bytes; the generated class ignores the schema's force_align."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self.data is not None:
            builder.Prep(BUFFER_ALIGNMENT_BYTES, len(self.data))
        return super().Pack(builder)


class _Graph:
    """A TFLite model under construction: tensors and operators are added in order and named by their number."""

    def __init__(self, description: str) -> None:
        self.model = schema.ModelT()
        self.model.version = SCHEMA_VERSION
        self.model.description = description
        self.model.operatorCodes = []
        self.model.buffers = [_AlignedBuffer()]  # buffer 0 is empty by convention
        self.subgraph = schema.SubGraphT()
        self.subgraph.name = "main"
        self.subgraph.tensors, self.subgraph.operators = [], []
        self.model.subgraphs = [self.subgraph]
        self._codes: dict[tuple[int, int], int] = {}  # (operator, version) -> its place in the table

    def add_tensor(self, name: str, shape: tuple[int, ...], quantization: Quantization) -> int:
        """An int8 activation."""
        scale = np.array([quantization.scale], np.float32)
        return self._add(name, shape, schema.TensorType.INT8, 0, _parameters(scale, quantization.zero_point))

    def add_constant(self, name: str, value: np.ndarray, scale: np.ndarray | None = None, *, int4: bool = False) -> int:
        """An int8 or int32 constant; `scale` (1,) or (O,) along axis 0, zero point 0. `int4` stores two int8 a byte."""
        buffer = _AlignedBuffer()
        stored = pack_int4(value) if int4 else value
        buffer.data = np.frombuffer(np.ascontiguousarray(stored).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        kind = {np.dtype(np.int8): schema.TensorType.INT8, np.dtype(np.int32): schema.TensorType.INT32}[value.dtype]
        kind = schema.TensorType.INT4 if int4 else kind
        parameters = None if scale is None else _parameters(scale, 0)
        return self._add(name, value.shape, kind, len(self.model.buffers) - 1, parameters)

    def _add(self, name: str, shape: tuple[int, ...], kind: int, buffer: int, parameters: object) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), kind
        tensor.buffer, tensor.quantization = buffer, parameters
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def add_operator(
        self, code: int, inputs: list[int], output: int, options: tuple[int, object], *, version: int | None = None
    ) -> int:
        """One operator with one output, whose number comes back; `options` is (kind, table)."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code_index(code, version or OPERATOR_VERSIONS[code])
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options
        self.subgraph.operators.append(operator)
        return output

    def _code_index(self, code: int, version: int) -> int:
        if (code, version) not in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code  # all of ours are below 127
            entry.version = version
            self.model.operatorCodes.append(entry)
            self._codes[code, version] = len(self.model.operatorCodes) - 1
        return self._codes[code, version]

    def to_bytes(self) -> bytes:
        """The finished flatbuffer."""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _parameters(scale: np.ndarray, zero_point: int) -> schema.QuantizationParametersT:
    parameters = schema.QuantizationParametersT()
    parameters.scale = scale.astype(np.float32)
    parameters.zeroPoint = np.full(scale.shape, zero_point, np.int64)
    parameters.quantizedDimension = 0
    return parameters


def pack_int4(values: np.ndarray) -> np.ndarray:
    """uint8, two values of -8 … 7 a byte in memory order, the first in the low half; an odd count ends with a zero.

    >>> pack_int4(np.array([1, -1, 7], np.int8)).tolist()
    [241, 7]
    """
    halves = np.append(values.reshape(-1), np.zeros(values.size % 2, values.dtype)).astype(np.uint8) & 0x0F
    return halves[::2] | halves[1::2] << 4


def _add_parameters(graph: _Graph, layer: QuantizedConv | QuantizedFullyConnected, *, int4: bool = False) -> list[int]:
    """Weight and bias tensors."""
    weight = layer.weight_ohwi if isinstance(layer, QuantizedConv) else layer.weight_oi
    bias_scale = bias_scales(layer.input.scale, layer.weight_scale)
    return [
        graph.add_constant(f"{layer.name}/weight", weight, layer.weight_scale, int4=int4),
        graph.add_constant(f"{layer.name}/bias", layer.bias, bias_scale),
    ]


def _add_convolution(graph: _Graph, conv: QuantizedConv, value: int, shape: LayerShape, *, int4: bool) -> int:
    if conv.stride == 2:
        height, width, channels = shape.input_hwc
        padded = graph.add_tensor(f"{conv.name}/pad", (1, height + 2, width + 2, channels), conv.input)
        padding = graph.add_constant(f"{conv.name}/padding", PADDING)
        value = graph.add_operator(Operator.PAD, [value, padding], padded, (Options.PadOptions, schema.PadOptionsT()))
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID if conv.stride == 2 else schema.Padding.SAME
    options.strideH = options.strideW = conv.stride
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = fused_activation(conv)
    output = graph.add_tensor(conv.name, (1, *shape.output_hwc), conv.output)
    inputs = [value, *_add_parameters(graph, conv, int4=int4)]
    version = INT4_CONVOLUTION_VERSION if int4 else None
    return graph.add_operator(Operator.CONV_2D, inputs, output, (Options.Conv2DOptions, options), version=version)


def _add_pool(graph: _Graph, quantization: Quantization, value: int, input_hwc: tuple[int, int, int]) -> int:
    """Global average pooling and the reshape to (N, C); quantization is unchanged by both."""
    height, width, channels = input_hwc
    pool = schema.Pool2DOptionsT()
    pool.padding = schema.Padding.VALID
    pool.strideH = pool.strideW = 1
    pool.filterHeight, pool.filterWidth = height, width
    pooled = graph.add_tensor("pool", (1, 1, 1, channels), quantization)
    value = graph.add_operator(Operator.AVERAGE_POOL_2D, [value], pooled, (Options.Pool2DOptions, pool))
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = np.array([-1, channels], np.int32)  # −1: the batch may be resized
    shape = graph.add_constant("features/shape", np.array([-1, channels], np.int32))
    features = graph.add_tensor("features", (1, channels), quantization)
    return graph.add_operator(Operator.RESHAPE, [value, shape], features, (Options.ReshapeOptions, reshape))


def _add_classifier(graph: _Graph, layer: QuantizedFullyConnected, value: int) -> int:
    output = graph.add_tensor(layer.name, (1, layer.indices.shape[0]), layer.output)
    options = (Options.FullyConnectedOptions, schema.FullyConnectedOptionsT())
    return graph.add_operator(Operator.FULLY_CONNECTED, [value, *_add_parameters(graph, layer)], output, options)
