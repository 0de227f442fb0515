"""onnx2tf's own int8 file: it runs, and its accuracy and bytes are told beside ours."""

from __future__ import annotations

import numpy as np

from convert.onnx_float import FILE_NAME as ONNX_FILE
from convert.onnx_float import write_float_onnx
from convert.reference import run
from convert.tflite_baseline import LOG_NAME, input_quantization, quantize_input
from convert.tflite_exact import FILE_NAME as INT8_FILE
from convert.tflite_exact import write_tflite
from convert.vectors import Vectors
from deploy.backends import run_baselines
from deploy.config import DeployConfig
from deploy.result import ConvertedModel
from tests.random_float_networks import random_float_network
from tests.random_models import random_images, random_model


def test_no_baseline_runs_unless_the_recipe_names_it():
    assert DeployConfig().baselines == ()
    assert DeployConfig(baselines=["onnx2tf_int8"]).baselines == ("onnx2tf_int8",)


def test_accuracy_and_bytes_of_onnx2tfs_own_int8(tmp_path):
    network = random_float_network(2, input_hwc=(8, 8, 3))
    images = random_images(np.random.default_rng(0), 60, network.input_hwc)
    classes = network.run(images).argmax(axis=1).astype(np.uint8)  # so that the float net is right everywhere
    write_float_onnx(network, tmp_path / ONNX_FILE)
    model = random_model(2, input_hwc=network.input_hwc)
    write_tflite(model, tmp_path / INT8_FILE)
    converted = ConvertedModel(tmp_path, model, Vectors(images, classes, run(model, images)))

    (result,) = run_baselines(converted, tmp_path / "out", ("onnx2tf_int8",), calibration_images=images)

    path = tmp_path / "out" / "baselines" / "onnx2tf_int8.tflite"
    assert (result.backend, result.role, result.exactness) == ("onnx2tf_int8", "runtime", None)
    assert result.accuracy["top1"] > 80  # int8 of the very net that made the labels
    assert result.file_bytes == path.stat().st_size
    assert f"{path.stat().st_size} bytes" in result.notices[0]
    assert path.with_name(LOG_NAME).is_file()
    # the calibration images reach black and white nearly, so a pixel is nearly its int8 value + 128
    pixels = quantize_input(images, input_quantization(path)).astype(int) + 128
    assert np.abs(pixels - images).max() <= 4
