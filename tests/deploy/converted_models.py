"""Random integer models with a TVM module and test vectors, as the convert stage leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convert.integer_model import IntegerModel
from convert.reference import predict, run
from convert.tvm_module import write_tvm_module
from convert.vectors import Vectors
from deploy.result import ConvertedModel
from tests.random_models import random_images


def converted_model(model: IntegerModel, folder: Path, *, images: int) -> ConvertedModel:
    """The model in `folder` with random images, labelled as the reference predicts."""
    write_tvm_module(model, folder)
    pixels = random_images(np.random.default_rng(31), images, model.input_hwc)
    logits = run(model, pixels)
    return ConvertedModel(folder, model, Vectors(pixels, predict(logits).astype(np.uint8), logits))
