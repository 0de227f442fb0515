"""The int4-weight variant of the exact TFLite file: half the weight bytes where a codebook lies on the int4 grid.

A convolution whose codebook entries are all in -8 … 7 stores them as int4, every other layer stays int8; activations,
biases and scales are the same, so the two files mean the same net. The reference kernels of tflite-runtime 2.14 refuse
int4, its default kernels take it.
"""

from __future__ import annotations

from pathlib import Path

from convert.integer_model import IntegerModel, QuantizedConv
from convert.tflite_exact import build_tflite, verify_tflite
from train.artefact import write_bytes

FILE_NAME = "model_int4.tflite"
LOWEST, HIGHEST = -8, 7


def is_on_int4_grid(conv: QuantizedConv) -> bool:
    """Whether every codebook entry is an int4 value."""
    return conv.codebook.min() >= LOWEST and conv.codebook.max() <= HIGHEST


def int4_layers(model: IntegerModel) -> tuple[str, ...]:
    """Names of the convolutions that can be stored as int4; the classifier stays int8."""
    return tuple(conv.name for conv in model.convs if is_on_int4_grid(conv))


def write_int4_tflite(model: IntegerModel, path: Path) -> tuple[str, ...]:
    """Write the file, read it back and compare it; the int4 layers' names come back. Without any, nothing is written."""
    names = int4_layers(model)
    if names:
        write_bytes(path, build_tflite(model, int4_layers=names))
        verify_tflite(model, path)
    return names
