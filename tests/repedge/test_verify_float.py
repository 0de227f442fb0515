"""Damage to the float files: ONNX and TFLite are each other's check, and the layer is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.onnx_float import FILE_NAME as ONNX_FILE
from convert.onnx_float import write_float_onnx
from convert.tflite_float import FILE_NAME, HALF_FILE_NAME, write_float_tflite
from repedge.cli import main
from tests.random_float_networks import random_float_network
from tests.random_models import random_model

NETWORK = random_float_network(5, input_hwc=(8, 8, 1), widths=(8, 12, 16), strides=(1, 2, 2))
DAMAGED = NETWORK.convs[1]
OHWI = DAMAGED.weight_oihw.transpose(0, 2, 3, 1)
WEIGHTS = {
    ONNX_FILE: DAMAGED.weight_oihw.astype(np.float32).tobytes(),
    FILE_NAME: OHWI.astype(np.float32).tobytes(),
    HALF_FILE_NAME: OHWI.astype(np.float32).astype(np.float16).tobytes(),
}
BIASES = {name: DAMAGED.bias.astype(np.float32) for name in (ONNX_FILE, FILE_NAME)}
BIASES[HALF_FILE_NAME] = BIASES[FILE_NAME].astype(np.float16)
files = pytest.mark.parametrize("name", WEIGHTS)


@pytest.fixture(scope="module")
def convert_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "convert"
    model = random_model(1, input_hwc=(8, 8, 1), widths=(8, 12, 16), strides=(1, 2, 2), bit_widths=(4, 4, 4))
    save_integer_model(model, folder / MODEL_FILE)
    write_float_onnx(NETWORK, folder / ONNX_FILE)
    write_float_tflite(folder / ONNX_FILE, folder / FILE_NAME, folder / HALF_FILE_NAME)
    return folder


def verify_with(convert_folder: Path, copy: Path, name: str, content: bytes) -> int:
    folder = shutil.copytree(convert_folder, copy / "convert")
    (folder / name).write_bytes(content)
    return main(["inspect", str(folder / name), "--verify"])


def flipped(content: bytes, needle: bytes) -> bytes:
    position = content.index(needle) + len(needle) // 2
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@files
def test_an_untouched_file_passes(convert_folder, name, capsys):
    assert main(["inspect", str(convert_folder / name), "--verify"]) == 0
    assert "float net" in capsys.readouterr().out


@files
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_a_flipped_parameter_names_the_layer(convert_folder, tmp_path, capsys, name, what):
    content = (convert_folder / name).read_bytes()
    needle = WEIGHTS[name] if what == "weight" else BIASES[name].tobytes()
    assert verify_with(convert_folder, tmp_path, name, flipped(content, needle)) == 1
    assert f"layer conv1, {what}" in capsys.readouterr().err


@files
@pytest.mark.parametrize("share", [0.3, 0.98])
def test_a_cut_file_names_a_layer(convert_folder, tmp_path, capsys, name, share):
    content = (convert_folder / name).read_bytes()
    assert verify_with(convert_folder, tmp_path, name, content[: int(share * len(content))]) == 1
    assert re.search(r"layer (conv\d|classifier)\b", capsys.readouterr().err)
