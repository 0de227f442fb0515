"""Whole models on the emulated Cortex-M55 with its own kernels, pooling and classifier included."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.reference import run
from convert.vectors import Vectors
from deploy.cortex_m import deploy_cortex_m
from deploy.result import ConvertedModel
from deploy.targets import load_target
from tests.random_models import random_codebook, random_images, random_model

IMAGES = 6
MODELS = {
    "one channel, odd sizes": {"input_hwc": (9, 13, 1), "widths": (5, 20, 33), "strides": (1, 2, 1)},
    "three channels": {"input_hwc": (16, 12, 3), "widths": (16, 16, 40), "strides": (1, 1, 2), "activation_bits": 4},
}


def _model(name, classifier_bits):
    model = random_model(5, bit_widths=(8, 4, 3), classes=11, **MODELS[name])
    rng = np.random.default_rng(6)
    codebook = random_codebook(rng, classifier_bits)
    indices = rng.integers(0, codebook.size, model.classifier.indices.shape, dtype=np.uint8)
    classifier = dataclasses.replace(
        model.classifier, bit_width=classifier_bits, codebook=codebook, indices=indices, bias=np.zeros(11, np.int32)
    )
    return dataclasses.replace(model, classifier=classifier)


@pytest.mark.parametrize(("name", "classifier_bits"), [("one channel, odd sizes", 3), ("three channels", 8)])
def test_model_equals_the_reference_with_the_kernels_of_the_core(tmp_path, name, classifier_bits):
    model = _model(name, classifier_bits)
    images = random_images(np.random.default_rng(7), IMAGES, model.input_hwc)
    vectors = Vectors(images, np.zeros(IMAGES, np.int64), run(model, images))
    converted = ConvertedModel(tmp_path / "convert", model, vectors)
    result = deploy_cortex_m(converted, load_target("cortex-m55"), tmp_path / "out", images=IMAGES)
    assert result.exactness.logits_mismatched == 0
    assert result.exactness.saturated_share < 0.5
    kernels = [layer["kernel"] for layer in result.target["layers"] if layer["op"] == "conv"]
    assert kernels == ["mve_first", "mve_direct", "mve_direct"]
