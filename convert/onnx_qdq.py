"""The integer model as a QDQ ONNX graph whose weights, scales and zero points are exactly ours.

    image float (N, C, H, W) = pixel / 255 -> Q DQ [Conv Relu Q DQ] … GlobalAveragePool Q DQ Flatten Gemm Q DQ -> logits float

Weights are int8, expanded, because runtimes only recognise the pattern with plain constants. Runtimes requantize in
float32, so their logits may differ from the reference by a level; `deploy` measures how often.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from convert.integer_model import IntegerModel, Quantization, QuantizedConv, QuantizedFullyConnected
from convert.onnx_float import network_input
from convert.onnx_graph import OnnxGraph, read_onnx
from convert.onnx_session import open_session
from convert.tflite_facts import TfliteLayer, TfliteNetwork, bias_scales, compare_facts, network_facts
from train.artefact import write_bytes
from train.errors import ArtefactError, Mismatch

FILE_NAME = "model_qdq.onnx"
BATCH = 64

Layer = QuantizedConv | QuantizedFullyConnected


def write_qdq_onnx(model: IntegerModel, path: Path) -> None:
    """Write the file and compare what was written with the model."""
    write_bytes(path, build_qdq_onnx(model).SerializeToString(deterministic=True))
    verify_qdq_onnx(model, path)


def build_qdq_onnx(model: IntegerModel) -> onnx.ModelProto:
    """The graph; two builds are equal bytes."""
    graph = OnnxGraph("qdq_repvgg")
    value = _add_fake_quantization(graph, "input", "image", model.input)
    for conv in model.convs:
        value = _add_convolution(graph, conv, value)
    value = graph.add("GlobalAveragePool", [value], "pool/mean")
    value = _add_fake_quantization(graph, "pool", value, model.classifier.input)
    value = graph.add("Flatten", [value], "features", axis=1)
    layer = model.classifier
    value = graph.add("Gemm", [value, *_add_parameters(graph, layer)], f"{layer.name}/sum", transB=1)
    _add_fake_quantization(graph, layer.name, value, layer.output, result="logits")
    height, width, channels = model.input_hwc
    return graph.finish(
        source=("image", TensorProto.FLOAT, ["N", channels, height, width]),
        result=("logits", TensorProto.FLOAT, ["N", len(model.class_names)]),
    )


def _add_convolution(graph: OnnxGraph, conv: QuantizedConv, value: str) -> str:
    inputs = [value, *_add_parameters(graph, conv)]
    strides = [conv.stride, conv.stride]
    value = graph.add("Conv", inputs, f"{conv.name}/sum", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=strides)
    if conv.clamp_max == 127:
        value = graph.add("Relu", [value], f"{conv.name}/relu")
    else:
        top = conv.output.scale * np.float32(conv.clamp_max - conv.output.zero_point)
        lowest = graph.constant(f"{conv.name}/lowest", np.array(0, np.float32))
        highest = graph.constant(f"{conv.name}/highest", np.array(top, np.float32))
        value = graph.add("Clip", [value, lowest, highest], f"{conv.name}/relu")
    return _add_fake_quantization(graph, conv.name, value, conv.output)


def _add_fake_quantization(
    graph: OnnxGraph, name: str, value: str, quantization: Quantization, *, result: str | None = None
) -> str:
    """QuantizeLinear and DequantizeLinear; the name of the float value comes back."""
    scale = graph.constant(f"{name}/scale", np.array(quantization.scale, np.float32))
    zero_point = graph.constant(f"{name}/zero_point", np.array(quantization.zero_point, np.int8))
    quantized = graph.add("QuantizeLinear", [value, scale, zero_point], f"{name}/quantized")
    return graph.add("DequantizeLinear", [quantized, scale, zero_point], result or f"{name}/output")


def _add_parameters(graph: OnnxGraph, layer: Layer) -> list[str]:
    """Weight and bias as float values of the graph."""
    conv = isinstance(layer, QuantizedConv)
    weight = layer.weight_ohwi.transpose(0, 3, 1, 2) if isinstance(layer, QuantizedConv) else layer.weight_oi
    # one scale per tensor is a scalar in ONNX
    shape = () if layer.weight_scale.size == 1 else (-1,)
    scale = layer.weight_scale.reshape(shape)
    bias_scale = bias_scales(layer.input.scale, layer.weight_scale).reshape(shape)
    axis: dict[str, Any] = {"axis": 0} if shape else {}
    names = [
        graph.constant(f"{layer.name}/weight", weight),
        graph.constant(f"{layer.name}/weight_scale", scale),
        graph.constant(f"{layer.name}/weight_zero_point", np.zeros(scale.shape, np.int8)),
    ]
    bias = [
        graph.constant(f"{layer.name}/bias", layer.bias),
        graph.constant(f"{layer.name}/bias_scale", bias_scale),
    ]
    return [
        graph.add("DequantizeLinear", names, f"{layer.name}/{'kernel' if conv else 'matrix'}", **axis),
        graph.add("DequantizeLinear", bias, f"{layer.name}/offset", **axis),
    ]


def verify_qdq_onnx(model: IntegerModel, path: Path) -> None:
    """Raise `Mismatch` naming layer and tensor where the file is not the model, bit for bit."""
    found = read_onnx(path)
    compare_facts(network_facts(model), read_qdq_facts(found, str(path)), str(path))
    if found != build_qdq_onnx(model):
        raise Mismatch(f"{path}: all layers: another graph around the same weights; run the convert stage again")


def read_qdq_facts(model: onnx.ModelProto, source: str) -> TfliteNetwork:
    """The facts of a graph, found by following its nodes; `ArtefactError` where it has another form."""
    try:
        return _Reader(model.graph).network()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ArtefactError(f"{source}: not a QDQ graph of ours ({error!r}); run the convert stage again") from error


def _reject(what: str) -> NoReturn:
    raise ValueError(what)


class _Reader:
    """Follows the graph from each Conv or Gemm to its operands and to its output."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.producers = {node.output[0]: node for node in graph.node}
        self.consumers = {name: node for node in graph.node for name in node.input}
        self.constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}

    def network(self) -> TfliteNetwork:
        """Facts of the whole graph."""
        dimensions = self.graph.input[0].type.tensor_type.shape.dim
        channels, height, width = (dimension.dim_value for dimension in dimensions[1:])
        layers = tuple(self._layer(node) for node in self.graph.node if node.op_type in ("Conv", "Gemm"))
        source = self._quantization(self.consumers[self.graph.input[0].name])
        return TfliteNetwork((height, width, channels), source, layers)

    def _layer(self, node: onnx.NodeProto) -> TfliteLayer:
        weight, weight_scale = self._constant(node.input[1])
        bias, bias_scale = self._constant(node.input[2])
        following = self.consumers[node.output[0]]
        convolution = node.op_type == "Conv"
        quantizer = self.consumers[following.output[0]] if convolution else following
        output = self._quantization(quantizer)
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        return TfliteLayer(
            node.name.rpartition("/")[0],
            attributes["strides"][0] if convolution else 0,
            self._input_quantization(node.input[0]),
            output,
            *(self._clamp(following, output) if convolution else (-128, 127)),
            weight.transpose(0, 2, 3, 1) if convolution else weight,
            weight_scale,
            bias,
            bias_scale,
        )

    def _constant(self, name: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """(integers, scales) of a dequantized constant."""
        node = self.producers[name]
        if node.op_type != "DequantizeLinear" or (len(node.input) > 2 and self.constants[node.input[2]].any()):
            _reject(f"{name}: not a dequantized constant with zero point 0")
        return self.constants[node.input[0]], self.constants[node.input[1]].reshape(-1)

    def _input_quantization(self, name: str) -> Quantization:
        """Of an activation: what its DequantizeLinear says, through a Flatten."""
        node = self.producers[name]
        return self._input_quantization(node.input[0]) if node.op_type == "Flatten" else self._quantization(node)

    def _quantization(self, node: onnx.NodeProto) -> Quantization:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            _reject(f"{node.op_type} {node.name} where a quantizer is expected")
        return Quantization(np.float32(self.constants[node.input[1]]), int(self.constants[node.input[2]]))

    def _clamp(self, node: onnx.NodeProto, output: Quantization) -> tuple[int, int]:
        """(lowest, highest) level after Relu or Clip."""
        if node.op_type == "Relu":
            return output.zero_point, 127
        low, high = (int(np.rint(self.constants[name] / output.scale)) + output.zero_point for name in node.input[1:])
        return low, high


def run_qdq_onnx(
    model: IntegerModel, path: Path, images: NDArray[np.uint8], *, optimize: bool, batch: int = BATCH
) -> NDArray[np.int8]:
    """int8 logits (N, classes) of onnxruntime for uint8 images (N, H, W, C), recovered from its float logits."""
    session = open_session(path, optimize=optimize)
    parts = [
        session.run(["logits"], {"image": network_input(images[start : start + batch])})[0]
        for start in range(0, len(images), batch)
    ]
    output = model.classifier.output
    # exact: the graph ends with (q - zero point) · scale
    levels = np.rint(np.concatenate(parts) / output.scale) + output.zero_point
    return levels.astype(np.int8)
