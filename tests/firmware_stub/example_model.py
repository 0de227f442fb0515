"""The small random model whose tables are committed as `firmware_stub/example_model`, so that the firmware builds alone.

Written again by: python -m tests.firmware_stub.example_model
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from convert.c_source import write_c_model
from convert.integer_model import IntegerModel
from convert.integer_model_file import save_integer_model
from tests.random_models import random_model
from train.artefact import sha256_file

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "firmware_stub" / "example_model"


def example_model() -> IntegerModel:
    """Three convolutions of 8, 4 and 2 bits on 8×8 grey images."""
    return random_model(1, widths=(4, 6, 8), strides=(1, 2, 1), bit_widths=(8, 4, 2))


def write_example(folder: Path) -> None:
    """The tables of the example model."""
    model = example_model()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.safetensors"
        save_integer_model(model, path)
        write_c_model(model, folder, source_hash=sha256_file(path))


if __name__ == "__main__":
    write_example(FOLDER)
