"""The QDQ graph holds exactly the model's weights, scales and zero points, and computes the same net but for rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from onnx import numpy_helper

from convert.onnx_qdq import build_qdq_onnx, run_qdq_onnx, verify_qdq_onnx, write_qdq_onnx
from convert.reference import predict, run
from tests.random_models import random_images, random_model
from train.errors import ArtefactError, Mismatch


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation_bits", [8, 3])
def test_the_file_is_read_back_bit_for_bit(tmp_path, per_channel, activation_bits):
    model = random_model(7, input_hwc=(11, 7, 3), activation_bits=activation_bits, per_channel=per_channel)
    write_qdq_onnx(model, tmp_path / "model.onnx")
    verify_qdq_onnx(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("optimize", [True, False])
def test_onnxruntime_computes_the_same_net_but_for_rounding(tmp_path, optimize):
    # the image and a tie in the pool round differently, by a level each; the logits' scale makes a few of that
    model = random_model(3)
    images = random_images(np.random.default_rng(1), 70, model.input_hwc)
    write_qdq_onnx(model, tmp_path / "model.onnx")

    logits = run_qdq_onnx(model, tmp_path / "model.onnx", images, optimize=optimize)

    expected = run(model, images)
    assert np.corrcoef(logits.reshape(-1), expected.reshape(-1))[0, 1] > 0.99
    assert (predict(logits) == predict(expected)).mean() > 0.9


def test_two_builds_give_equal_bytes():
    first, second = (build_qdq_onnx(random_model(1)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("tensor", ["weight", "weight_scale", "bias", "bias_scale"])
def test_a_flipped_byte_names_layer_and_tensor(tmp_path, tensor):
    model, path = random_model(2), tmp_path / "model.onnx"
    graph = build_qdq_onnx(model)
    (item,) = [item for item in graph.graph.initializer if item.name == f"conv1/{tensor}"]
    item.raw_data = bytes([item.raw_data[0] ^ 1]) + item.raw_data[1:]
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(Mismatch, match=f"layer conv1, {tensor}"):
        verify_qdq_onnx(model, path)


@pytest.mark.parametrize(("constant", "value"), [("scale", np.float32(0.5)), ("zero_point", np.int8(-127))])
def test_a_wrong_activation_scale_or_zero_point_is_found(tmp_path, constant, value):
    model, path = random_model(2), tmp_path / "model.onnx"
    graph = build_qdq_onnx(model)
    (item,) = [item for item in graph.graph.initializer if item.name == f"conv2/{constant}"]
    item.CopyFrom(numpy_helper.from_array(np.array(value), item.name))
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(Mismatch, match="layer conv2, output"):
        verify_qdq_onnx(model, path)


def test_another_clamp_is_found(tmp_path):
    model, path = random_model(2, activation_bits=4), tmp_path / "model.onnx"
    wider = dataclasses.replace(model.convs[1], activation_bits=5)
    other = dataclasses.replace(model, convs=(model.convs[0], wider, *model.convs[2:]))
    path.write_bytes(build_qdq_onnx(other).SerializeToString())

    with pytest.raises(Mismatch, match="layer conv1, clamp_max"):
        verify_qdq_onnx(model, path)


def test_a_graph_of_another_form_is_an_artefact_error(tmp_path):
    model, path = random_model(2), tmp_path / "model.onnx"
    graph = build_qdq_onnx(model)
    weight = next(node for node in graph.graph.node if node.name == "conv0/kernel")
    weight.op_type = "QuantizeLinear"
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(ArtefactError, match=r"model\.onnx"):
        verify_qdq_onnx(model, path)
