"""The merged float net as ONNX: opset 17, input `image` (N, C, H, W) = pixel / 255, output `logits` (N, classes).

The graph is built node by node, so two exports of one net are equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from convert.float_network import FloatConv, FloatNetwork, float32_bound
from train.artefact import atomic_path
from train.errors import Mismatch

FILE_NAME = "model_float.onnx"
OPSET = 17
IR_VERSION = 8


def write_float_onnx(network: FloatNetwork, path: Path) -> None:
    """Write and check the float32 ONNX file of a merged net."""
    model = build_float_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def build_float_onnx(network: FloatNetwork) -> onnx.ModelProto:
    """Conv + Relu per layer, GlobalAveragePool, Flatten, Gemm; the batch axis is dynamic."""
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    value = "image"
    for conv in network.convs:
        value = _add_convolution(nodes, initializers, conv, value)
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pool"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["features"], "flatten", axis=1))
    initializers.append(_initializer("classifier.weight", network.classifier_weight))
    initializers.append(_initializer("classifier.bias", network.classifier_bias))
    inputs = ["features", "classifier.weight", "classifier.bias"]
    nodes.append(helper.make_node("Gemm", inputs, ["logits"], "classifier", transB=1))
    graph = helper.make_graph(
        nodes,
        "merged_repvgg",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, _input_shape(network))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(network.classifier_bias)])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="repedge")
    model.ir_version = IR_VERSION
    return model


def _input_shape(network: FloatNetwork) -> list[int | str]:
    height, width, channels = network.input_hwc
    return ["N", channels, height, width]


def _add_convolution(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], conv: FloatConv, value: str
) -> str:
    """Append one convolution with its ReLU; the name of its output comes back."""
    initializers.append(_initializer(f"{conv.name}.weight", conv.weight_oihw))
    initializers.append(_initializer(f"{conv.name}.bias", conv.bias))
    nodes.append(
        helper.make_node(
            "Conv",
            [value, f"{conv.name}.weight", f"{conv.name}.bias"],
            [f"{conv.name}.sum"],
            conv.name,
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[conv.stride, conv.stride],
        )
    )
    nodes.append(helper.make_node("Relu", [f"{conv.name}.sum"], [f"{conv.name}.output"], f"{conv.name}.relu"))
    return f"{conv.name}.output"


def _initializer(name: str, value: NDArray[np.float64]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name)


def run_onnx(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (N, classes) of onnxruntime for uint8 images (N, H, W, C)."""
    import onnxruntime  # takes a while to import, and only this check needs it

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": network_input(images)})
    return logits


def network_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in 0 … 1."""
    return np.ascontiguousarray((images.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2))


def verify_float_onnx(network: FloatNetwork, path: Path, images: NDArray[np.uint8]) -> float:
    """Largest |onnxruntime − float64 run| over these images; `Mismatch` where it exceeds float32's rounding."""
    rounded = network.rounded_to_float32()
    return check_difference(str(path), run_onnx(path, images), rounded.run(images), float32_bound(rounded, images))


def check_difference(name: str, actual: Sequence[float] | np.ndarray, expected: np.ndarray, bound: float) -> float:
    """Largest absolute difference; `Mismatch` where it is above `bound` or not a number."""
    difference = float(np.abs(np.asarray(actual, np.float64) - expected).max(initial=0.0))
    if not difference <= bound:
        raise Mismatch(
            f"{name}: logits differ by {difference:.3g}, allowed {bound:.3g} (float32 rounding of this net); "
            "the converter changed the net, compare layer by layer"
        )
    return difference
