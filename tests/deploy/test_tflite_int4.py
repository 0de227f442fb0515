"""The int4 file in tflite-runtime: the same logits as the int8 file, its bytes told."""

from __future__ import annotations

import numpy as np

from convert.reference import run
from convert.tflite_exact import FILE_NAME as INT8_FILE
from convert.tflite_exact import write_tflite
from convert.tflite_int4 import FILE_NAME, write_int4_tflite
from convert.vectors import Vectors
from deploy.result import ConvertedModel
from deploy.tflite_int4 import run_tflite_int4
from tests.random_models import model_on_int4_grid, random_images, random_model


def converted_model(model, folder):
    images = random_images(np.random.default_rng(0), 40, model.input_hwc)
    write_tflite(model, folder / INT8_FILE)
    write_int4_tflite(model, folder / FILE_NAME)
    return ConvertedModel(folder, model, Vectors(images, np.zeros(40, np.uint8), run(model, images)))


def test_int4_logits_equal_the_int8_files_and_bytes_are_told(tmp_path):
    result = run_tflite_int4(converted_model(model_on_int4_grid(3, layers=("conv1", "conv3")), tmp_path))

    assert (result.backend, result.role, result.file_bytes) == (
        "tflite_int4",
        "runtime",
        (tmp_path / FILE_NAME).stat().st_size,
    )
    assert result.exactness.logits_compared == 400
    assert any("0 of 400 logits differ from the int8 file's" in notice for notice in result.notices)
    assert any("conv0, conv2, conv4, classifier" in notice for notice in result.notices)


def test_without_a_file_there_is_a_notice(tmp_path):
    result = run_tflite_int4(converted_model(random_model(4), tmp_path))

    assert result.exactness is None
    assert "no file" in result.notices[0]
