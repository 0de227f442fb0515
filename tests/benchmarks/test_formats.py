"""The formats benchmark: bytes add up, goals are judged layer by layer, runs are found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.format_nets import Net, run_net, synthetic_net
from benchmarks.format_tables import markdown
from benchmarks.formats import goal_bits, measure
from convert.integer_model_file import FILE_NAME, save_integer_model
from tests.need import need
from tests.random_models import model_on_int4_grid
from train.errors import ArtefactError

NET = Net("toy", 4, model_on_int4_grid(3, layers=("conv1", "conv3")))
WEIGHTS = sum(layer.indices.size for layer in NET.model.layers)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """All artefacts that are written in milliseconds, and the firmware."""
    need("cmake", "arm-none-eabi-gcc")
    folder = tmp_path_factory.mktemp("formats")
    names = ("tflite int8", "tflite int4", "onnx integer", "firmware cortex-m4")
    return {name: row for name in names for row in measure(NET, name, folder / name.replace(" ", "-"))}


def test_int8_tflite_holds_a_byte_per_weight(rows):
    row = rows["tflite int8"]
    assert (row["weight_bytes"], row["bits_per_weight"], row["weights"]) == (WEIGHTS, 8.0, WEIGHTS)
    assert row["weight_bytes"] + row["other_constant_bytes"] < row["file_bytes"]


def test_int4_layers_hold_half_of_int8(rows):
    halves = {layer["name"]: layer["bits_per_weight"] for layer in rows["tflite int4"]["layers"]}
    assert halves == {"conv0": 8, "conv1": 4, "conv2": 8, "conv3": 4, "conv4": 8, "classifier": 8}


def test_packed_formats_hold_indices_and_codebook(rows):
    layers = {layer.name: layer for layer in NET.model.layers}
    for row in rows["onnx integer"]["layers"]:
        layer = layers[row["name"]]
        packed = layer.indices.shape[0] * -(-layer.indices[0].size * layer.bit_width // 8)
        codebook = 0 if layer.bit_width == 8 else 2**layer.bit_width
        assert row["weight_bytes"] == packed + codebook


def test_the_firmwares_layers_are_judged(rows):
    for layer in rows["firmware cortex-m4"]["layers"]:
        assert layer["goal_bits_per_weight"] == layer["bit_width"] + 0.15
        assert layer["within_goal"] == (layer["bits_per_weight"] <= layer["goal_bits_per_weight"])


@pytest.mark.parametrize(
    ("artefact", "weights", "entries", "goal"),
    [
        ("tvm cortex-a53", 10, 16, 4.15),
        ("vela ethos-u65-512", 4096, 32, 4.1),
        ("vela ethos-u65-512", 4095, 32, None),
        ("vela ethos-u55-128", 4096, 33, None),
        ("vela ethos-u85-256", 4096, 16, None),
        ("onnx integer", 4096, 16, None),
    ],
)
def test_goals_are_the_projects(artefact, weights, entries, goal):
    assert goal_bits(artefact, weights, 4, entries) == goal


def test_the_page_names_each_layer_beyond_its_goal(rows):
    page = markdown(list(rows.values()), "the command")
    assert "| tflite int8 | 4 |" in page
    assert "int4 TFLite, toy: 2 layers hold" in page
    beyond = [layer for layer in rows["firmware cortex-m4"]["layers"] if not layer["within_goal"]]
    assert beyond and all(f"{layer['name']} {layer['bits_per_weight']:.2f} at" in page for layer in beyond)


def test_a_runs_model_is_found_and_its_width_told(tmp_path):
    save_integer_model(synthetic_net("xs", 3).model, tmp_path / "run" / "convert" / FILE_NAME)
    found = run_net(tmp_path / "run")
    assert (found.name, found.weight_bits) == ("run", 3)
    with pytest.raises(ArtefactError, match="name a finished run"):
        run_net(tmp_path)


def test_a_uniform_synthetic_net_lies_on_the_int4_grid():
    net = synthetic_net("xs", 4, uniform=True)
    inner = net.model.convs[1:]
    assert all(np.abs(conv.codebook).max() == 7 for conv in inner)
    assert net.name == "synthetic-xs-uniform"
