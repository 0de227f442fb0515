"""The ONNX file computes the merged net; the float net's own forward agrees with torch."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from convert.float_network import FloatConv, float32_bound
from convert.onnx_float import build_float_onnx, network_input, run_onnx, verify_float_onnx, write_float_onnx
from tests.random_float_networks import random_float_network
from tests.random_models import random_images
from train.errors import Mismatch

SHAPES = [(8, 8, 1), (11, 7, 3), (32, 32, 3)]


@pytest.mark.parametrize("input_hwc", SHAPES)
def test_float_network_equals_torch_in_float64(input_hwc):
    network = random_float_network(3, input_hwc=input_hwc)
    images = random_images(np.random.default_rng(0), 4, input_hwc)
    value = torch.from_numpy(images.transpose(0, 3, 1, 2)).double() / 255
    for conv in network.convs:
        weight, bias = torch.from_numpy(conv.weight_oihw), torch.from_numpy(conv.bias)
        value = torch.nn.functional.conv2d(value, weight, bias, conv.stride, 1).relu()
    expected = value.mean((2, 3)).numpy() @ network.classifier_weight.T + network.classifier_bias
    # float64 against float64: float32's bound shrunk by the ratio of the unit roundoffs, 2^-53 / 2^-24
    assert np.abs(network.run(images) - expected).max() <= 2 * float32_bound(network, images) * 2.0**-29


@pytest.mark.parametrize("input_hwc", SHAPES)
def test_onnxruntime_is_within_float32_rounding_of_the_float64_run(tmp_path, input_hwc):
    network = random_float_network(4, input_hwc=input_hwc)
    images = random_images(np.random.default_rng(1), 8, input_hwc)
    write_float_onnx(network, tmp_path / "net.onnx")
    assert verify_float_onnx(network, tmp_path / "net.onnx", images) < 1e-3 * np.abs(network.run(images)).max()


def test_operators_are_the_plain_stack():
    model = build_float_onnx(random_float_network(1, widths=(4, 4), strides=(1, 2)))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def test_two_exports_are_equal_bytes(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        write_float_onnx(random_float_network(5), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_changed_bias_is_a_mismatch(tmp_path):
    network, path = random_float_network(6), tmp_path / "net.onnx"
    images = random_images(np.random.default_rng(2), 4, network.input_hwc)
    write_float_onnx(dataclasses.replace(network, classifier_bias=network.classifier_bias + 0.01), path)
    with pytest.raises(Mismatch, match="the converter changed the net"):
        verify_float_onnx(network, path, images)


def test_weights_in_the_file_are_the_nets_rounded_once(tmp_path):
    network, path = random_float_network(7), tmp_path / "net.onnx"
    write_float_onnx(network, path)
    stored = {entry.name: onnx.numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
    assert np.array_equal(stored["conv1.weight"], network.convs[1].weight_oihw.astype(np.float32))


def test_batch_is_dynamic(tmp_path):
    network, path = random_float_network(8), tmp_path / "net.onnx"
    images = random_images(np.random.default_rng(3), 5, network.input_hwc)
    write_float_onnx(network, path)
    assert run_onnx(path, images).shape == (5, 10)


def test_network_input_is_nchw_in_zero_to_one():
    image = np.array([[[[0, 255, 51]]]], np.uint8)
    assert network_input(image).reshape(-1).tolist() == [0.0, 1.0, np.float32(0.2)]


def test_nan_weight_is_refused():
    with pytest.raises(ValueError, match="layer stem: NaN"):
        FloatConv("stem", np.full((1, 1, 3, 3), np.nan), np.zeros(1), 1)
