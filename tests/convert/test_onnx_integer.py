"""The integer ONNX graph gives the reference's logits in onnxruntime, and its file holds the model's tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from convert.integer_model import Quantization
from convert.onnx_integer import build_integer_onnx, run_integer_onnx, verify_integer_onnx, write_integer_onnx
from convert.onnx_session import open_session
from convert.reference import run
from tests.random_models import random_images, random_model
from train.errors import ArtefactError, Mismatch


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation_bits", [8, 3])
@pytest.mark.parametrize("input_hwc", [(8, 8, 1), (11, 7, 3)])
def test_onnxruntime_gives_the_reference_logits(tmp_path, per_channel, activation_bits, input_hwc):
    model = random_model(7, input_hwc=input_hwc, activation_bits=activation_bits, per_channel=per_channel)
    images = random_images(np.random.default_rng(1), 70, input_hwc)  # not a multiple of the batch
    write_integer_onnx(model, tmp_path / "model.onnx")

    logits = run_integer_onnx(tmp_path / "model.onnx", images)

    expected = run(model, images)
    assert np.array_equal(logits, expected)
    assert ((expected == -128) | (expected == 127)).mean() < 0.5  # equal logits mean something


def with_zero_points(model, zero_point):
    """The model with another zero point between its layers, so that padding is not the lowest level."""
    convs, source = [], model.input
    for conv in model.convs:
        output = Quantization(conv.output.scale, zero_point)
        convs.append(dataclasses.replace(conv, input=source, output=output))
        source = output
    classifier = dataclasses.replace(model.classifier, input=source)
    return dataclasses.replace(model, convs=tuple(convs), classifier=classifier)


def test_padding_holds_the_zero_point(tmp_path):
    model = with_zero_points(random_model(8), -40)
    images = random_images(np.random.default_rng(2), 40, model.input_hwc)
    write_integer_onnx(model, tmp_path / "model.onnx")

    assert np.array_equal(run_integer_onnx(tmp_path / "model.onnx", images), run(model, images))


def test_multipliers_above_one_shift_left(tmp_path):
    model = random_model(9)
    loud = dataclasses.replace(model.convs[1], weight_scale=model.convs[1].weight_scale * np.float32(5000))
    model = dataclasses.replace(model, convs=(model.convs[0], loud, *model.convs[2:]))
    images = random_images(np.random.default_rng(3), 40, model.input_hwc)
    write_integer_onnx(model, tmp_path / "model.onnx")

    assert loud.requantization[1].max() > 0
    assert np.array_equal(run_integer_onnx(tmp_path / "model.onnx", images), run(model, images))


def test_without_graph_optimisation_the_logits_are_the_same(tmp_path):
    model = random_model(10)
    images = random_images(np.random.default_rng(4), 20, model.input_hwc)
    write_integer_onnx(model, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx", optimize=False)

    (logits,) = session.run(None, {"image": images.transpose(0, 3, 1, 2)})

    assert np.array_equal(logits, run(model, images))


def test_file_holds_the_packed_tables_and_no_expanded_weights():
    model = random_model(11, widths=(16, 24, 32), strides=(1, 2, 1), bit_widths=(4, 3, 2))
    initializers = build_integer_onnx(model).graph.initializer
    tables = [item for item in initializers if "/" in item.name and not item.name.endswith(("zero_point", "offset"))]

    assert sum(len(item.raw_data) for item in tables) == model.weight_bytes


def test_two_builds_give_equal_bytes():
    first, second = (build_integer_onnx(random_model(1)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("table", ["indices", "codebook", "bias", "multiplier", "shift"])
def test_a_flipped_table_byte_names_layer_and_table(tmp_path, table):
    model, path = random_model(12), tmp_path / "model.onnx"
    graph = build_integer_onnx(model)
    (item,) = [item for item in graph.graph.initializer if item.name == f"conv2/{table}"]
    item.raw_data = bytes([item.raw_data[0] ^ 4]) + item.raw_data[1:]
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(Mismatch, match=f"layer conv2, {table}"):
        verify_integer_onnx(model, path)


def test_a_changed_node_names_its_layer(tmp_path):
    model, path = random_model(12), tmp_path / "model.onnx"
    graph = build_integer_onnx(model)
    (node,) = [node for node in graph.graph.node if node.name == "conv1/output"]
    next(attribute for attribute in node.attribute if attribute.name == "highest").i -= 1
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(Mismatch, match="layer conv1, node Requantize"):
        verify_integer_onnx(model, path)


def test_a_changed_function_is_found(tmp_path):
    model, path = random_model(12), tmp_path / "model.onnx"
    graph = build_integer_onnx(model)
    (requantize,) = [function for function in graph.functions if function.name == "Requantize"]
    requantize.node[3].attribute[0].i += 1
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(Mismatch, match="functions"):
        verify_integer_onnx(model, path)


@pytest.mark.parametrize("content", [None, b"", b"\x08\x08\x12"], ids=["missing", "empty", "cut"])
def test_damaged_file_is_one_clear_error(content, tmp_path):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"model\.onnx"):
        verify_integer_onnx(random_model(1), path)


def test_standard_checker_accepts_the_graph():
    onnx.checker.check_model(build_integer_onnx(random_model(1)), full_check=True)
