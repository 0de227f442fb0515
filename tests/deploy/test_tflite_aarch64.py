"""tflite-runtime for aarch64 under qemu-user: reference kernels equal to the last logit."""

from __future__ import annotations

import numpy as np
import pytest

from convert.reference import run
from convert.tflite_exact import FILE_NAME, write_tflite
from convert.vectors import Vectors
from deploy.result import ConvertedModel
from deploy.tflite_aarch64 import COMPLETE, SETUP, run_emulated, run_tflite_aarch64
from tests.random_models import random_images, random_model
from train.errors import ToolFailed, ToolMissing

needs_setup = pytest.mark.skipif(not (SETUP / COMPLETE).is_file(), reason="no aarch64 Python here: make aarch64")


@pytest.fixture
def converted(tmp_path):
    model = random_model(11, input_hwc=(10, 9, 3))
    images = random_images(np.random.default_rng(0), 40, model.input_hwc)
    write_tflite(model, tmp_path / FILE_NAME)
    return ConvertedModel(tmp_path, model, Vectors(images, np.zeros(40, np.uint8), run(model, images)))


@needs_setup
def test_aarch64s_reference_kernels_prove_every_logit_and_its_default_kernels_are_a_runtime(converted):
    proof, default = run_tflite_aarch64(converted, images=37)
    assert (proof.backend, proof.role) == ("tflite_ref_aarch64", "exact")
    assert (proof.exactness.logits_compared, proof.exactness.logits_mismatched) == (370, 0)
    assert (default.backend, default.role) == ("tflite_runtime_default_aarch64", "runtime")


@needs_setup
def test_a_file_that_is_no_net_shows_the_last_lines(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"not a net")
    with pytest.raises(ToolFailed, match="ValueError"):
        run_emulated("tflite_ref", tmp_path / "broken.tflite", np.zeros((1, 4, 4, 1), np.int8))


def test_without_the_set_up_the_command_is_named(converted, tmp_path):
    with pytest.raises(ToolMissing, match="run make aarch64"):
        run_tflite_aarch64(converted, images=1, setup=tmp_path / "nowhere")
