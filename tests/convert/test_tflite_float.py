"""onnx2tf converts the float net without a network connection, and what it writes computes the same net."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from convert import onnx2tf_offline, tflite_float
from convert.onnx_float import write_float_onnx
from convert.tflite_float import LOG_NAME, verify_float_tflite, write_float_tflite
from tests.random_float_networks import random_float_network
from tests.random_models import random_images
from train.errors import Mismatch, ToolFailed, ToolMissing


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A colour net with odd sizes: the case in which onnx2tf wants its calibration images."""
    folder = tmp_path_factory.mktemp("float")
    network = random_float_network(1, input_hwc=(11, 8, 3))
    write_float_onnx(network, folder / "net.onnx")
    write_float_tflite(folder / "net.onnx", folder / "net.tflite")
    return network, folder


def test_float_tflite_is_within_float32_rounding_of_onnxruntime(converted):
    network, folder = converted
    images = random_images(np.random.default_rng(0), 16, network.input_hwc)
    difference = verify_float_tflite(network, folder / "net.onnx", folder / "net.tflite", images)
    assert difference < 1e-3 * np.abs(network.run(images)).max()


def test_log_is_kept_beside_the_file(converted):
    assert (converted[1] / LOG_NAME).is_file()


def test_another_net_is_a_mismatch(converted):
    network, folder = converted
    images = random_images(np.random.default_rng(0), 4, network.input_hwc)
    write_float_onnx(random_float_network(2, input_hwc=network.input_hwc), folder / "other.onnx")
    with pytest.raises(Mismatch, match=r"net\.tflite: logits differ"):
        verify_float_tflite(network, folder / "other.onnx", folder / "net.tflite", images)


def test_the_hook_blocks_connections():
    script = (
        "import sys, socket; from convert.onnx2tf_offline import block_network; sys.addaudithook(block_network)\n"
        "socket.create_connection(('127.0.0.1', 9))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PermissionError" in result.stderr


def test_failed_tool_shows_the_tail_of_its_log(tmp_path, monkeypatch):
    program = tmp_path / "broken.py"
    program.write_text("raise SystemExit('no such operator')")
    monkeypatch.setattr(onnx2tf_offline, "__file__", str(program))
    with pytest.raises(ToolFailed, match="no such operator"):
        write_float_tflite(tmp_path / "net.onnx", tmp_path / "net.tflite")
    assert not (tmp_path / "net.tflite").exists()


def test_missing_tool_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite_float.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="pip install onnx2tf"):
        write_float_tflite(tmp_path / "net.onnx", tmp_path / "net.tflite")
