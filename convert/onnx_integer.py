"""The integer model as an integer ONNX graph, bit-equal to `convert.reference` in any runtime that follows the standard.

    image uint8 (N, C, H, W) -> [Pad ConvInteger Add (ShiftLeft) Requantize] … AveragePool MatMulInteger … -> logits int8

The file holds what the firmware holds: packed weights, codebook, bias, multiplier and shift of each layer, b bits per
weight. They are decoded inside the graph (`convert.onnx_functions`); a runtime folds that into
constants when it loads the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from convert.c_layers import layer_tables
from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from convert.onnx_functions import DOMAIN, integer_functions
from convert.onnx_graph import OnnxGraph, read_onnx
from convert.onnx_session import open_session
from convert.packing import PLAIN_BITS
from convert.stored import stored_layer
from train.artefact import write_bytes
from train.errors import Mismatch

FILE_NAME = "model_integer.onnx"
BATCH = 64
WEIGHT_TABLES = ("indices", "codebook")
UNSIGNED = 128  # activations and weights are uint8 = int8 + 128 inside the graph
PADDING = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)  # N, C, H, W: before, then after

Layer = QuantizedConv | QuantizedFullyConnected


def write_integer_onnx(model: IntegerModel, path: Path) -> None:
    """Write the file and compare what was written with the model."""
    write_bytes(path, build_integer_onnx(model).SerializeToString(deterministic=True))
    verify_integer_onnx(model, path)


def build_integer_onnx(model: IntegerModel) -> onnx.ModelProto:
    """The graph; two builds are equal bytes."""
    graph = OnnxGraph("integer_repvgg")
    graph.constant("unsigned", np.array(UNSIGNED, np.uint8))
    graph.constant("padding", PADDING)
    value = "image"  # a pixel is its int8 input + 128
    for conv in model.convs:
        value = _add_convolution(graph, conv, value)
    height, width, channels = next(shape.input_hwc for shape in model.shapes() if shape.kind == "pool")
    value = graph.add("AveragePool", [value], "pool", domain=DOMAIN, count=height * width)
    value = _add_classifier(graph, model.classifier, value)
    graph.add("Cast", [value], "logits/wide", to=TensorProto.INT32)
    graph.constant("logits/offset", np.array(UNSIGNED, np.int32))
    graph.add("Sub", ["logits/wide", "logits/offset"], "logits/signed")
    graph.add("Cast", ["logits/signed"], "logits", to=TensorProto.INT8)
    height, width, channels = model.input_hwc
    return graph.finish(
        source=("image", TensorProto.UINT8, ["N", channels, height, width]),
        result=("logits", TensorProto.INT8, ["N", len(model.class_names)]),
        functions=integer_functions(),
    )


def _add_convolution(graph: OnnxGraph, conv: QuantizedConv, value: str) -> str:
    zero_point = graph.constant(f"{conv.name}/input_zero_point", np.array(conv.input.zero_point + UNSIGNED, np.uint8))
    # an operator of its own: the standard does not say whether ConvInteger pads with 0 or with the zero point
    padded = graph.add("Pad", [value, "padding", zero_point], f"{conv.name}/padded")
    weight = _add_weight(graph, conv, [0, 3, 1, 2])  # OHWI -> OIHW
    inputs, strides = [padded, weight, zero_point, "unsigned"], [conv.stride, conv.stride]
    total = graph.add("ConvInteger", inputs, f"{conv.name}/sum", kernel_shape=[3, 3], strides=strides)
    return _add_requantization(graph, conv, total, (conv.clamp_min, conv.clamp_max), (-1, 1, 1))


def _add_classifier(graph: OnnxGraph, layer: QuantizedFullyConnected, value: str) -> str:
    zero_point = graph.constant(f"{layer.name}/input_zero_point", np.array(layer.input.zero_point + UNSIGNED, np.uint8))
    weight = _add_weight(graph, layer, [1, 0])  # (O, I) -> (I, O)
    total = graph.add("MatMulInteger", [value, weight, zero_point, "unsigned"], f"{layer.name}/sum")
    return _add_requantization(graph, layer, total, (-128, 127), (-1,))


def _add_weight(graph: OnnxGraph, layer: Layer, order: list[int]) -> str:
    tables, bit_width = layer_tables(layer), stored_layer(layer).bit_width
    inputs = [graph.constant(f"{layer.name}/{name}", tables[name]) for name in WEIGHT_TABLES if name in tables]
    result, shape = f"{layer.name}/weight", list(layer.indices.shape)
    if bit_width == PLAIN_BITS:
        return graph.add("PlainWeights", inputs, result, domain=DOMAIN, shape=shape, order=order)
    return graph.add(
        "DecodeWeights",
        inputs,
        result,
        domain=DOMAIN,
        row_bits=[layer.indices[0].size * bit_width],
        grouping=[0, -1, bit_width],
        powers=[1 << bit for bit in range(bit_width)],
        shape=shape,
        order=order,
    )


def _add_requantization(
    graph: OnnxGraph, layer: Layer, total: str, clamp: tuple[int, int], column: tuple[int, ...]
) -> str:
    """Bias, requantization and clamp; `column` is the shape in which channels broadcast over `total`."""
    tables = layer_tables(layer)
    bias, multiplier, shift = (
        graph.constant(f"{layer.name}/{name}", tables[name].reshape(column)) for name in ("bias", "multiplier", "shift")
    )
    total = graph.add("Add", [total, bias], f"{layer.name}/accumulator")
    if tables["shift"].max() > 0:
        total = graph.add("ShiftLeft", [total, shift], f"{layer.name}/shifted", domain=DOMAIN)
    lowest, highest = clamp
    return graph.add(
        "Requantize",
        [total, multiplier, shift],
        f"{layer.name}/output",
        domain=DOMAIN,
        zero_point=layer.output.zero_point,
        lowest=lowest,
        highest=highest,
    )


def verify_integer_onnx(model: IntegerModel, path: Path) -> None:
    """Raise `Mismatch` naming layer and table where the file is not the model, bit for bit."""
    found = read_onnx(path)
    tables = {item.name: numpy_helper.to_array(item) for item in found.graph.initializer}
    for layer in model.layers:
        for name, expected in layer_tables(layer).items():
            _check_table(str(path), layer.name, name, expected, tables.get(f"{layer.name}/{name}"))
    expected_model = build_integer_onnx(model)
    for node, wanted in zip(found.graph.node, expected_model.graph.node, strict=False):
        if node != wanted:
            raise _mismatch(str(path), node.name.rpartition("/")[0] or node.name, f"node {node.op_type}")
    if found != expected_model:
        raise _mismatch(str(path), "all", "graph, functions or zero points")


def _check_table(
    source: str, layer: str, name: str, expected: NDArray[np.integer], found: NDArray[np.generic] | None
) -> None:
    if found is None or found.dtype != expected.dtype or not np.array_equal(found.reshape(-1), expected.reshape(-1)):
        raise _mismatch(source, layer, name)


def _mismatch(source: str, layer: str, what: str) -> Mismatch:
    return Mismatch(
        f"{source}: layer {layer}, {what}: differs from the integer model, equal bits are expected; "
        "run the convert stage again"
    )


def run_integer_onnx(path: Path, images: NDArray[np.uint8], *, batch: int = BATCH) -> NDArray[np.int8]:
    """Logits (N, classes) of onnxruntime for uint8 images (N, H, W, C)."""
    session = open_session(path)
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    parts = [
        session.run(["logits"], {"image": pixels[start : start + batch]})[0] for start in range(0, len(pixels), batch)
    ]
    return np.concatenate(parts)
