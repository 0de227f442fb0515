"""onnx2tf converts the float net without a network connection, and what it writes computes the same net."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from convert import onnx2tf_offline, tflite_float
from convert.onnx_float import write_float_onnx
from convert.tflite_float import LOG_NAME, verify_float_tflite, verify_half_tflite, write_float_tflite
from tests.random_float_networks import random_float_network
from tests.random_models import random_images
from train.errors import Mismatch, ToolFailed, ToolMissing

FILES = ("net.tflite", "half.tflite")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A colour net with odd sizes: the case in which onnx2tf wants its calibration images."""
    folder = tmp_path_factory.mktemp("float")
    network = random_float_network(1, input_hwc=(11, 8, 3))
    write_float_onnx(network, folder / "net.onnx")
    write_float_tflite(folder / "net.onnx", folder / "net.tflite", folder / "half.tflite")
    return network, folder


def test_float_tflite_is_within_float32_rounding_of_onnxruntime(converted):
    network, folder = converted
    images = random_images(np.random.default_rng(0), 16, network.input_hwc)
    difference = verify_float_tflite(network, folder / "net.onnx", folder / "net.tflite", images)
    assert difference < 1e-3 * np.abs(network.run(images)).max()


def test_float16_tflite_is_the_net_rounded_to_half_precision(converted):
    network, folder = converted
    images = random_images(np.random.default_rng(0), 16, network.input_hwc)
    difference = verify_half_tflite(network, folder / "half.tflite", images)
    rounding = np.abs(network.rounded_to_float16().run(images) - network.run(images)).max()
    assert difference < rounding / 100  # the bound is far below what the rounding itself changes
    with pytest.raises(Mismatch, match=r"net\.tflite: logits differ"):
        verify_half_tflite(network, folder / "net.tflite", images)


def test_float16_halves_the_parameters_bytes(converted):
    full, half = (schema.ModelT.InitFromPackedBuf((converted[1] / name).read_bytes(), 0) for name in FILES)
    assert _bytes_of(half, schema.TensorType.FLOAT16) * 2 == _bytes_of(full, schema.TensorType.FLOAT32)


def _bytes_of(model, kind):
    """Constants of one type."""
    buffers = [model.buffers[tensor.buffer].data for tensor in model.subgraphs[0].tensors if tensor.type == kind]
    return sum(len(data) for data in buffers if data is not None)


def test_log_is_kept_beside_the_file(converted):
    assert (converted[1] / LOG_NAME).is_file()


def test_another_net_is_a_mismatch(converted):
    network, folder = converted
    images = random_images(np.random.default_rng(0), 4, network.input_hwc)
    write_float_onnx(random_float_network(2, input_hwc=network.input_hwc), folder / "other.onnx")
    with pytest.raises(Mismatch, match=r"net\.tflite: logits differ"):
        verify_float_tflite(network, folder / "other.onnx", folder / "net.tflite", images)


def run_python(script, *prefix):
    return subprocess.run([*prefix, sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_the_hook_blocks_connections():
    script = (
        "import sys, socket; from convert.onnx2tf_offline import block_network; sys.addaudithook(block_network)\n"
        "socket.create_connection(('127.0.0.1', 9))"
    )
    assert "PermissionError" in run_python(script).stderr


def test_an_attempt_that_a_library_hides_still_fails_the_conversion():
    script = (
        "import contextlib, socket, sys; from convert import onnx2tf_offline as program\n"
        "sys.addaudithook(program.block_network)\n"
        "with contextlib.suppress(OSError): socket.create_connection(('127.0.0.1', 9))\n"
        "program.fail_after_attempts()"
    )
    result = run_python(script)
    assert result.returncode == 1
    assert "tried to reach the network" in result.stderr


def test_quantization_needs_no_network_interface_at_all(converted, tmp_path):
    """The colour net with calibration images, where onnx2tf looks for a file to download, in a namespace without network."""
    namespace = ("unshare", "--map-root-user", "--net")
    if run_python("", *namespace).returncode != 0:
        pytest.skip("unshare --net is not permitted here")
    source, target = converted[1] / "net.onnx", tmp_path / "int8.tflite"
    script = (
        "import numpy as np; from pathlib import Path; from convert.tflite_baseline import write_baseline\n"
        f"images = np.random.default_rng(0).integers(0, 256, (8, 11, 8, 3), dtype=np.uint8)\n"
        f"write_baseline(Path({str(source)!r}), Path({str(target)!r}), images)"
    )
    result = run_python(script, *namespace)
    assert result.returncode == 0, result.stderr
    assert target.stat().st_size > 0


def test_failed_tool_shows_the_tail_of_its_log(tmp_path, monkeypatch):
    program = tmp_path / "broken.py"
    program.write_text("raise SystemExit('no such operator')")
    monkeypatch.setattr(onnx2tf_offline, "__file__", str(program))
    with pytest.raises(ToolFailed, match="no such operator"):
        write_float_tflite(tmp_path / "net.onnx", tmp_path / "net.tflite", tmp_path / "half.tflite")
    assert not (tmp_path / "net.tflite").exists()


def test_missing_tool_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite_float.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="pip install onnx2tf"):
        write_float_tflite(tmp_path / "net.onnx", tmp_path / "net.tflite", tmp_path / "half.tflite")
