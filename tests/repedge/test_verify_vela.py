"""Damage to Vela's file and to its C array: each kind is caught, and the layer is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.reference import run
from convert.tflite_exact import FILE_NAME, write_tflite
from convert.vectors import Vectors
from deploy.ethos_u import deploy_ethos_u
from deploy.report_weights import MERGED_FILE, dequantize
from deploy.result import ConvertedModel
from deploy.targets import load_target
from deploy.vela_run import read_report
from deploy.vela_stream import read_vela_output
from repedge.cli import main
from repedge.verify_vela import array_bytes
from tests.random_models import random_images, random_model

MODEL = random_model(31, bit_widths=(8, 4, 3, 8, 5), widths=(16, 32, 32, 64, 64))
NAMES = ("model_int8_vela.tflite", "model_vela.c")
TARGETS = ("ethos-u55-128", "ethos-u85-128")  # conv3 is in the fast format of the second
both = pytest.mark.parametrize("name", NAMES)
targets = pytest.mark.parametrize("target", TARGETS)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_integer_model(MODEL, folder / "convert" / MODEL_FILE)
    write_tflite(MODEL, folder / "convert" / FILE_NAME)
    merged = {f"{layer.name}.weight": dequantize(layer).astype(np.float32) for layer in MODEL.layers}
    save_file({name: np.ascontiguousarray(value) for name, value in merged.items()}, folder / "convert" / MERGED_FILE)
    images = random_images(np.random.default_rng(0), 2, MODEL.input_hwc)
    converted = ConvertedModel(folder / "convert", MODEL, Vectors(images, np.zeros(2, np.uint8), run(MODEL, images)))
    for name in TARGETS:
        deploy_ethos_u(converted, load_target(name), folder / "deploy" / name)
    return folder


def verify_with(run_folder: Path, copy: Path, target: str, name: str, content: bytes) -> int:
    """Exit status of the check of a copy of the folder whose file holds `content`, as bytes or as C array."""
    folder = shutil.copytree(run_folder / "deploy" / target, copy / target)
    if name.endswith(".c"):
        text = (folder / name).read_text()
        numbers = ", ".join(map(str, content))
        (folder / name).write_text(re.sub(r"= \{[^}]*\}", f"= {{{numbers}}}", text))
    else:
        (folder / name).write_bytes(content)
    return main(["inspect", str(folder / name), "--verify", "--model", str(run_folder)])


def file_and_streams(run_folder: Path, target: str):
    """(content, offset of the flash constants in it, the first call of each layer)."""
    path, npu = run_folder / "deploy" / target / NAMES[0], load_target(target)
    summary = path.with_name(f"model_int8_summary_{npu.system_config}.csv")
    layers = read_report(path, summary, path.with_name("model_int8_debug.xml"), npu).layer_of_command
    content, output = path.read_bytes(), read_vela_output(path, npu.accelerator)
    calls = {layers[call.command_offset]: call for call in reversed(output.calls)}
    return content, content.index(output.flash), calls


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


@both
@targets
def test_an_untouched_file_passes(finished_run, target, name):
    assert main(["inspect", str(finished_run / "deploy" / target / name), "--verify"]) == 0


@both
@targets
@pytest.mark.parametrize("layer", ["conv1", "conv3"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_a_flipped_weight_names_the_layer(finished_run, tmp_path, capsys, target, name, layer, share):
    content, flash, calls = file_and_streams(finished_run, target)
    stream = calls[layer].weights[0]
    damaged = flipped(content, flash + stream.offset + int(share * stream.length))
    assert verify_with(finished_run, tmp_path, target, name, damaged) == 1
    assert f"layer {layer}" in capsys.readouterr().err


@both
@targets
@pytest.mark.parametrize(("byte", "what"), [(0, "bias"), (6, "multiplier"), (9, "shift")])
def test_a_wrong_scale_record_names_the_layer(finished_run, tmp_path, capsys, target, name, byte, what):
    content, flash, calls = file_and_streams(finished_run, target)
    position = flash + calls["conv2"].scales[0].offset + byte - (byte == 9 and target.startswith("ethos-u85"))
    assert verify_with(finished_run, tmp_path, target, name, flipped(content, position)) == 1
    assert f"layer conv2: {what} of 1 channels" in capsys.readouterr().err


@both
def test_a_wrong_output_scale_names_the_last_layer(finished_run, tmp_path, capsys, name):
    content, _, _ = file_and_streams(finished_run, TARGETS[0])
    scale = MODEL.classifier.output.scale.tobytes()
    assert content.count(scale) == 1
    assert verify_with(finished_run, tmp_path, TARGETS[0], name, flipped(content, content.index(scale))) == 1
    assert "layer classifier: output quantization" in capsys.readouterr().err


@both
@pytest.mark.parametrize("share", [0.3, 0.98])
def test_a_cut_file_names_a_layer(finished_run, tmp_path, capsys, name, share):
    content, _, _ = file_and_streams(finished_run, TARGETS[0])
    assert verify_with(finished_run, tmp_path, TARGETS[0], name, content[: int(share * len(content))]) == 1
    assert re.search(r"layer (conv\d|classifier)\b", capsys.readouterr().err)


def test_a_cut_array_is_a_value_error():
    assert array_bytes("x[2] = {\n 1, 255,\n};") == b"\x01\xff"
    with pytest.raises(ValueError, match="no closed array"):
        array_bytes("x[2] = {\n 1, 25")
