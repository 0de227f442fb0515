"""The ONNX graphs in onnxruntime: 0 mismatches in the integer graph, the QDQ graph is measured."""

from __future__ import annotations

import numpy as np
import pytest

from convert import onnx_integer, onnx_qdq
from convert.reference import run
from convert.vectors import Vectors
from deploy.onnx_runtimes import run_integer, run_onnx
from deploy.result import ConvertedModel
from tests.random_models import random_images, random_model
from train.errors import Mismatch


@pytest.fixture
def converted(tmp_path):
    model = random_model(11, input_hwc=(10, 9, 3))
    images = random_images(np.random.default_rng(0), 70, model.input_hwc)
    onnx_integer.write_integer_onnx(model, tmp_path / onnx_integer.FILE_NAME)
    onnx_qdq.write_qdq_onnx(model, tmp_path / onnx_qdq.FILE_NAME)
    return ConvertedModel(tmp_path, model, Vectors(images, np.zeros(70, np.uint8), run(model, images)))


def test_the_integer_graph_proves_every_logit_and_the_qdq_graph_is_a_runtime(converted):
    results = {result.backend: result for result in run_onnx(converted)}

    proof = results.pop("onnx_integer")
    assert (proof.role, proof.exactness.logits_compared, proof.exactness.logits_mismatched) == ("exact", 700, 0)
    assert {name: result.role for name, result in results.items()} == {
        "onnxruntime_qdq": "runtime",
        "onnxruntime_qdq_unoptimized": "runtime",
    }


def test_a_wrong_reference_logit_is_a_mismatch(converted):
    converted.vectors.logits[3, 2] ^= 1
    with pytest.raises(Mismatch, match="onnx_integer: 1 of 700 logits differ"):
        run_integer(converted)


def test_a_file_of_another_model_is_refused_before_it_runs(converted):
    other = random_model(12, input_hwc=(10, 9, 3))
    onnx_integer.write_integer_onnx(other, converted.folder / onnx_integer.FILE_NAME)
    with pytest.raises(Mismatch, match="layer conv0"):
        run_integer(converted)
