"""The exact TFLite file in the interpreters: 0 mismatches in the reference kernels, the others are measured."""

from __future__ import annotations

import numpy as np
import pytest

from convert.reference import run
from convert.tflite_exact import FILE_NAME, write_tflite
from convert.vectors import Vectors
from deploy import tflite_runtimes
from deploy.result import ConvertedModel
from deploy.tflite_runtimes import run_runtime, run_tflite
from tests.random_models import random_images, random_model
from train.errors import Mismatch, ToolFailed, ToolMissing


@pytest.fixture
def converted(tmp_path):
    model = random_model(11, input_hwc=(10, 9, 3))
    images = random_images(np.random.default_rng(0), 70, model.input_hwc)  # not a multiple of the batch
    write_tflite(model, tmp_path / FILE_NAME)
    return ConvertedModel(tmp_path, model, Vectors(images, np.zeros(70, np.uint8), run(model, images)))


def test_reference_kernels_prove_every_logit_and_the_others_are_runtimes(converted):
    results = {result.backend: result for result in run_tflite(converted)}
    assert set(results) == {"tflite_ref", "tflite_runtime_default", "litert_default"}
    proof = results["tflite_ref"]
    assert (proof.role, proof.exactness.logits_compared, proof.exactness.logits_mismatched) == ("exact", 700, 0)
    assert {result.role for name, result in results.items() if name != "tflite_ref"} == {"runtime"}


def test_tensorflows_interpreter_runs_the_same_file(converted):
    _, result = run_tflite(converted, runtimes=("tflite_ref", "tensorflow"))
    assert (result.backend, result.role, result.exactness.logits_compared) == ("tensorflow_default", "runtime", 700)


def test_a_wrong_reference_logit_is_a_mismatch(converted):
    converted.vectors.logits[3, 2] ^= 1
    with pytest.raises(Mismatch, match="tflite_ref: 1 of 700 logits differ"):
        run_tflite(converted, runtimes=("tflite_ref",))


def test_a_file_of_another_model_is_refused_before_it_runs(converted):
    write_tflite(random_model(12, input_hwc=(10, 9, 3)), converted.folder / FILE_NAME)
    with pytest.raises(Mismatch, match="layer conv0"):
        run_tflite(converted, runtimes=("tflite_ref",))


def test_a_crash_shows_the_last_lines(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"not a net")
    with pytest.raises(ToolFailed, match="ValueError"):
        run_runtime("tflite_ref", tmp_path / "broken.tflite", np.zeros((1, 4, 4, 1), np.uint8))


def test_a_missing_runtime_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite_runtimes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="pip install ai-edge-litert"):
        run_runtime("litert", tmp_path / "net.tflite", np.zeros((1, 4, 4, 1), np.uint8))
