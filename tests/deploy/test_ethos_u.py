"""Vela's output holds exactly the integer model: weights at their places, biases, multipliers, zero points, clamps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.integer_model import QuantizedConv
from convert.reference import run
from convert.tflite_exact import FILE_NAME, write_tflite
from convert.vectors import Vectors
from deploy import vela_run
from deploy.ethos_u import deploy_ethos_u
from deploy.result import ConvertedModel
from deploy.targets import load_target, target_names
from deploy.vela_decode import IN_ORDER, check_streams, decode_streams
from deploy.vela_order import ORDERS
from deploy.vela_run import read_report
from deploy.vela_stream import read_vela_output
from tests.random_models import random_images, random_model
from train.errors import ArtefactError, ConfigError, Mismatch, ToolFailed, ToolMissing

TARGET = load_target("ethos-u55-128")


def convert(folder, **options):
    model = random_model(5, **options)
    write_tflite(model, folder / FILE_NAME)
    images = random_images(np.random.default_rng(0), 2, model.input_hwc)
    return ConvertedModel(folder, model, Vectors(images, np.zeros(2, np.uint8), run(model, images)))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A colour net with odd sizes, an 8-bit and four narrow layers, compiled for Ethos-U55-128."""
    folder = tmp_path_factory.mktemp("ethos")
    converted = convert(folder, input_hwc=(15, 12, 3), activation_bits=5)
    return converted, deploy_ethos_u(converted, TARGET, folder / "vela"), folder / "vela"


def reread(folder):
    stem = FILE_NAME.removesuffix(".tflite")
    summary = folder / f"{stem}_summary_{TARGET.system_config}.csv"
    return read_report(folder / f"{stem}_vela.tflite", summary, folder / f"{stem}_debug.xml", TARGET)


def recheck(model, folder):
    report = reread(folder)
    return check_streams(model, read_vela_output(report.path), report.layer_of_command, TARGET.accelerator)


def with_conv(model, number, **changes):
    convs = list(model.convs)
    convs[number] = dataclasses.replace(convs[number], **changes)
    return dataclasses.replace(model, convs=tuple(convs))


def test_every_layer_is_proven_in_order(compiled):
    layers = compiled[1].target["layers"]
    assert [row["weights_proven"] for row in layers if "weights_proven" in row] == [IN_ORDER] * 6


def test_nothing_is_claimed_to_have_run(compiled):
    result = compiled[1]
    assert (result.backend, result.exactness, result.target["executed"]) == ("vela_ethos-u55-128", None, False)
    assert "compiled and decoded, not executed" in result.notices


def test_flash_parts_add_up_to_the_file(compiled):
    _, result, folder = compiled
    flash = result.target["flash_bytes"]
    assert flash["weights"] + flash["other"] == flash["total"] == reread(folder).path.stat().st_size
    assert flash["weights"] == sum(row["flash_bytes"] for row in result.target["layers"])


def test_a_layer_beyond_the_palette_is_noticed(compiled):
    converted, result, _ = compiled
    entries = {layer.name: np.unique(layer.indices).size for layer in converted.model.layers}
    expected = {name for name, count in entries.items() if count > 32}
    noticed = {text.split(":")[0].removeprefix("layer ") for text in result.notices if "palette" in text}
    assert noticed == expected == {"conv0", "classifier"}


def test_narrow_codebooks_cost_fewer_bits_than_plain_int8(compiled):
    rows = {row["name"]: row for row in compiled[1].target["layers"]}
    assert rows["conv3"]["bits_per_weight"] < 4 < 8 < rows["classifier"]["bits_per_weight"]


def test_a_changed_weight_is_a_mismatch(compiled):
    converted, _, folder = compiled
    indices = converted.model.convs[2].indices.copy()
    indices[3, 1, 2, 4] ^= 1
    with pytest.raises(Mismatch, match="layer conv2: the decoded weights are other values"):
        recheck(with_conv(converted.model, 2, indices=indices), folder)


def test_two_swapped_weights_are_a_mismatch(compiled):
    converted, _, folder = compiled
    indices = converted.model.convs[2].indices[::-1].copy()
    with pytest.raises(Mismatch, match="layer conv2: the decoded weights are the model's values at other places"):
        recheck(with_conv(converted.model, 2, indices=indices), folder)


def test_a_changed_bias_is_a_mismatch(compiled):
    converted, _, folder = compiled
    bias = converted.model.convs[1].bias + np.int32([1, *[0] * 7])
    with pytest.raises(Mismatch, match="layer conv1: bias of 1 channels"):
        recheck(with_conv(converted.model, 1, bias=bias), folder)


def test_a_changed_weight_scale_is_a_mismatch(compiled):
    converted, _, folder = compiled
    scale = converted.model.convs[1].weight_scale.copy()
    scale[2] = np.nextafter(scale[2], np.float32(1))
    with pytest.raises(Mismatch, match="layer conv1: multiplier of 1 channels"):
        recheck(with_conv(converted.model, 1, weight_scale=scale), folder)


def test_another_clamp_is_a_mismatch(compiled):
    converted, _, folder = compiled
    with pytest.raises(Mismatch, match=r"layer conv4: clamp \(-128, -97\)"):
        recheck(with_conv(converted.model, 4, activation_bits=4), folder)


@pytest.mark.parametrize("name", ["ethos-u55-32", "ethos-u65-512", "ethos-u85-256"])
def test_other_accelerators_are_decoded_in_order(tmp_path, name):
    """Four output channels a unit, two cores, and Ethos-U85's own order with its sparse format (one channel)."""
    result = deploy_ethos_u(convert(tmp_path, input_hwc=(9, 8, 1)), load_target(name), tmp_path / name)
    assert {row["weights_proven"] for row in result.target["layers"] if "weights_proven" in row} == {IN_ORDER}


def test_a_damaged_stream_is_an_error_and_not_the_end_of_the_process(compiled):
    output = read_vela_output(reread(compiled[2]).path)
    first = output.calls[0].weights[0]
    with pytest.raises(ToolFailed, match="mlw_codec"):
        decode_streams({"0": np.frombuffer(output.flash, np.uint8, first.length // 2, first.offset)})


def test_a_clock_that_is_not_velas_is_a_config_error(compiled):
    stem, folder = FILE_NAME.removesuffix(".tflite"), compiled[2]
    summary, debug = folder / f"{stem}_summary_{TARGET.system_config}.csv", folder / f"{stem}_debug.xml"
    with pytest.raises(ConfigError, match="clock_hz 1"):
        read_report(folder / f"{stem}_vela.tflite", summary, debug, TARGET.model_copy(update={"clock_hz": 1}))


def test_an_unknown_system_config_shows_velas_words(tmp_path):
    converted = convert(tmp_path)
    with pytest.raises(ToolFailed, match="Ethos_U99"):
        deploy_ethos_u(converted, TARGET.model_copy(update={"system_config": "Ethos_U99"}), tmp_path / "vela")


def test_missing_vela_names_its_package(tmp_path, monkeypatch):
    converted = convert(tmp_path)
    monkeypatch.setattr(vela_run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="pip install ethos-u-vela"):
        deploy_ethos_u(converted, TARGET, tmp_path / "vela")


def test_a_file_that_is_not_velas_is_an_artefact_error(tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"\0" * 100)
    with pytest.raises(ArtefactError, match="not a file of Vela's form"):
        read_vela_output(tmp_path / "net.tflite")


def test_an_uncompiled_net_is_all_cpu_operators(tmp_path):
    write_tflite(random_model(1, widths=(4, 4), strides=(1, 2), bit_widths=(4, 4)), tmp_path / "net.tflite")
    operators = read_vela_output(tmp_path / "net.tflite").cpu_operators
    assert operators == ("CONV_2D", "PAD", "CONV_2D", "AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED")


def test_the_order_of_every_shipped_accelerator_is_known():
    names = [name for name in target_names() if name.startswith("ethos-u")]
    assert {load_target(name).accelerator for name in names} <= set(ORDERS)


def test_layers_have_the_models_names_and_macs(compiled):
    converted, result, _ = compiled
    rows = [(row["name"], row["macs"]) for row in result.target["layers"]]
    assert rows == [(shape.name, shape.macs) for shape in converted.model.shapes()]
    assert isinstance(converted.model.layers[0], QuantizedConv)
