"""Vela's output holds exactly the integer model: weights at their places, biases, multipliers, zero points, clamps."""

from __future__ import annotations

import dataclasses
import re
import subprocess

import numpy as np
import pytest
from safetensors.numpy import save_file

from convert.integer_model import QuantizedConv
from convert.reference import run
from convert.tflite_exact import FILE_NAME, write_tflite
from convert.vectors import Vectors
from deploy import vela_run
from deploy.ethos_u import compile_net, deploy_ethos_u
from deploy.report_weights import MERGED_FILE, dequantize
from deploy.result import ConvertedModel
from deploy.targets import load_target, target_names
from deploy.vela_baseline import FROM_FLOAT
from deploy.vela_decode import IN_ORDER, check_streams, decode_streams
from deploy.vela_order import ACCELERATORS, FAST_BIT, SPARSE_BIT
from deploy.vela_run import read_report
from deploy.vela_stream import read_vela_output
from tests.need import need
from tests.random_models import random_images, random_model
from train.errors import ArtefactError, ConfigError, Mismatch, ToolFailed, ToolMissing

TARGET = load_target("ethos-u55-128")


def convert(folder, **options):
    model = random_model(5, **options)
    write_tflite(model, folder / FILE_NAME)
    rng = np.random.default_rng(1)
    merged = {layer.name: dequantize(layer) for layer in model.layers}
    noisy = {name: value + rng.normal(0, np.abs(value).max() / 10, value.shape) for name, value in merged.items()}
    save_file({f"{name}.weight": value.astype(np.float32) for name, value in noisy.items()}, folder / MERGED_FILE)
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
    return check_streams(
        model, read_vela_output(report.path, TARGET.accelerator), report.layer_of_command, TARGET.accelerator
    )


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
    assert {name for name, count in entries.items() if count > 32} == {"conv0", "classifier"}
    (notice,) = [text for text in result.notices if "palette" in text]
    assert f"conv0 ({entries['conv0']}), classifier ({entries['classifier']});" in notice
    assert "quantize.weights.max_entries: 32" in notice


def test_each_layer_stands_beside_the_same_layer_with_uniform_int8_weights(compiled):
    rows = {row["name"]: row for row in compiled[1].target["layers"]}
    narrow = rows["conv3"]
    assert narrow["bits_per_weight"] < 4 < narrow["uniform_int8"]["bits_per_weight"]
    assert rows["classifier"]["uniform_int8"]["cycles_estimated"] == rows["classifier"]["cycles_estimated"] > 0
    totals = compiled[1].target["uniform_int8"]
    assert totals["weights"] == FROM_FLOAT
    assert totals["weight_bytes"] == sum(row["uniform_int8"].get("weight_bytes", 0) for row in rows.values())
    assert totals["off_chip_flash_bytes"] > compiled[1].target["off_chip_flash_bytes"]


def test_layers_whose_codebook_saves_no_cycles_are_noticed(compiled):
    rows = compiled[1].target["layers"]
    expected = [
        row["name"]
        for row in rows
        if row["flash_bytes"]
        and row["weight_bytes"] < row["uniform_int8"]["weight_bytes"]
        and row["cycles_estimated"] >= row["uniform_int8"]["cycles_estimated"]
    ]
    noticed = [text for text in compiled[1].notices if "buys size but no estimated cycles" in text]
    assert bool(noticed) == bool(expected)
    assert all(name in noticed[0] for name in expected)


def test_the_c_array_is_velas_file_and_compiles(compiled):
    need("cc")
    folder = compiled[2]
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "model_vela.c", "-o", "model_vela.o"]
    subprocess.run(command, cwd=folder, check=True)
    text = (folder / "model_vela.c").read_text()
    numbers = re.findall(r"\d+", text[text.index("= {") :])
    assert bytes(map(int, numbers)) == reread(folder).path.read_bytes()
    assert "not executed" in text


def test_the_operator_list_is_velas_one_operator(compiled):
    text = (compiled[2] / "model_vela_operators.h").read_text()
    assert "resolver.AddEthosU()" in text
    assert "kModelVelaOperators = 1" in text
    assert "not executed" in text


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


def two_of_four(model):
    """The model with half of each four weights along the input channels zero: what Ethos-U85's sparse format takes."""
    convs = []
    for conv in model.convs:
        indices, zero = conv.indices.copy(), int(np.flatnonzero(conv.codebook == 0)[0])
        indices[..., 0::4] = indices[..., 1::4] = zero
        convs.append(dataclasses.replace(conv, indices=indices))
    return dataclasses.replace(model, convs=tuple(convs))


# Four output channels a unit; two cores; then Ethos-U85 with one, two and four cores
@pytest.mark.parametrize(
    "name", ["ethos-u55-32", "ethos-u65-512", "ethos-u85-128", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"]
)
def test_other_accelerators_are_decoded_in_order(tmp_path, name):
    """Wide 8-bit layers, for which Ethos-U85 up to 512 units takes its fast format, and strides in narrow ones."""
    model = random_model(
        7, input_hwc=(16, 16, 3), widths=(24, 40, 48, 96), strides=(1, 2, 2, 1), bit_widths=(5, 4, 6, 8)
    )
    write_tflite(model, tmp_path / FILE_NAME)
    compiled = compile_net(model, tmp_path / FILE_NAME, load_target(name), tmp_path / name)
    assert {stream.proven for stream in compiled.streams} == {IN_ORDER}
    fast = {call.weight_format for call in compiled.output.calls} == {0, FAST_BIT}
    assert fast == (name in ("ethos-u85-128", "ethos-u85-512"))


def test_the_sparse_format_is_decoded_in_order(tmp_path):
    model = two_of_four(random_model(9, widths=(32, 64, 32), strides=(1, 2, 1), bit_widths=(8, 3, 8)))
    write_tflite(model, tmp_path / FILE_NAME)
    compiled = compile_net(model, tmp_path / FILE_NAME, load_target("ethos-u85-1024"), tmp_path / "vela")
    assert {stream.proven for stream in compiled.streams} == {IN_ORDER}
    assert [call.weight_format for call in compiled.output.calls] == [SPARSE_BIT] * 3 + [0]


def test_a_damaged_stream_is_an_error_and_not_the_end_of_the_process(compiled):
    output = read_vela_output(reread(compiled[2]).path, TARGET.accelerator)
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
        read_vela_output(tmp_path / "net.tflite", TARGET.accelerator)


def test_an_uncompiled_net_is_all_cpu_operators(tmp_path):
    write_tflite(random_model(1, widths=(4, 4), strides=(1, 2), bit_widths=(4, 4)), tmp_path / "net.tflite")
    operators = read_vela_output(tmp_path / "net.tflite", TARGET.accelerator).cpu_operators
    assert operators == ("CONV_2D", "PAD", "CONV_2D", "AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED")


def test_the_order_of_every_shipped_accelerator_is_known():
    names = [name for name in target_names() if name.startswith("ethos-u")]
    assert {load_target(name).accelerator for name in names} == ACCELERATORS


def test_layers_have_the_models_names_and_macs(compiled):
    converted, result, _ = compiled
    rows = [(row["name"], row["macs"]) for row in result.target["layers"]]
    assert rows == [(shape.name, shape.macs) for shape in converted.model.shapes()]
    assert isinstance(converted.model.layers[0], QuantizedConv)
