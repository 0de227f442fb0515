"""A finished run in miniature for the tests of exports: a random integer model with vectors and a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.reference import predict
from convert.reference import run as run_reference
from convert.vectors import FILE_NAME as VECTORS_FILE
from convert.vectors import Vectors, save_vectors
from tests.random_models import random_images, random_model

REPORT = {
    "name": "Tiny net",
    "seed": 7,
    "git_commit": "",
    "accuracy": {"numpy": {"top1": 97.5, "images": 40}},
    "dataset": {"name": "digits", "split_sizes": {"train": 100, "test": 40}},
    "model": {"parameters": 1234, "macs": 5678, "bit_widths": [8, 4, 8]},
    "exactness": {"host_c": {"logits_compared": 400, "logits_mismatched": 0}},
    "targets": {},
}


def write_run(folder: Path) -> Path:
    """The run's folder."""
    model = random_model(1)
    images = random_images(np.random.default_rng(2), 4, model.input_hwc)
    logits = run_reference(model, images)
    (folder / "convert").mkdir(parents=True)
    save_integer_model(model, folder / "convert" / MODEL_FILE)
    save_vectors(Vectors(images, predict(logits).astype(np.uint8), logits), folder / "convert" / VECTORS_FILE)
    (folder / "report.json").write_text(json.dumps(REPORT))
    return folder
