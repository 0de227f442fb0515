"""The nets whose artefacts are weighed: those of finished runs, and synthetic ones in the shapes of the named sizes.

A synthetic net has bell-shaped weights with long tails (Laplace), as training leaves them, and the optimal codebook of each
layer; first and last layer have 8 bits, as in the recipes. What it computes means nothing: it is for bytes only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.cluster import nearest_indices, optimal_codebook
from convert.integer_model import IMAGE_INPUT, IntegerModel, Quantization, QuantizedConv, QuantizedFullyConnected
from convert.integer_model_file import FILE_NAME, load_integer_model
from train.errors import ArtefactError
from train.layout import SIZES, Layout

INPUT_HWC, CLASSES = (32, 32, 3), 10
LEVEL = Quantization(np.float32(6 / 255), -128)
LOGITS = Quantization(np.float32(0.1), 0)
SCALE = np.array([0.002], np.float32)
GRID_MAX, INT4_MAX = 127, 7
SEED = 2


@dataclass(frozen=True)
class Net:
    """`weight_bits` are those of the layers between first and last; nets of one `group` share a table."""

    name: str
    weight_bits: int
    model: IntegerModel
    group: str


def run_net(folder: Path, group: str = "") -> Net:
    """The integer model of a run's folder, of its convert folder, or of a folder that holds the file itself."""
    for path in (folder / FILE_NAME, folder / "convert" / FILE_NAME):
        if path.is_file():
            model = load_integer_model(path)
            bits = [conv.bit_width for conv in model.convs[1:]] or [model.convs[0].bit_width]
            return Net(folder.name, max(set(bits), key=bits.count), model, group or folder.name)
    raise ArtefactError(f"{folder}: no {FILE_NAME} in it or in its convert folder; name a finished run")


def synthetic_net(size: str, weight_bits: int, *, uniform: bool = False) -> Net:
    """A net of a named size; `uniform` takes the int4 grid's levels in place of an optimal codebook."""
    rng = np.random.default_rng([SEED, weight_bits])
    convs: list[QuantizedConv] = []
    for number, (inputs, outputs, stride) in enumerate(_shapes(SIZES[size])):
        bits = 8 if number == 0 else weight_bits
        codebook, indices = _weights(rng, (outputs, 3, 3, inputs), bits, uniform=uniform and number > 0)
        source, bias = convs[-1].output if convs else IMAGE_INPUT, np.zeros(outputs, np.int32)
        convs.append(QuantizedConv(f"conv{number}", stride, source, LEVEL, 8, bits, codebook, indices, SCALE, bias))
    codebook, indices = _weights(rng, (CLASSES, convs[-1].indices.shape[0]), 8)
    classifier = QuantizedFullyConnected(
        "classifier", LEVEL, LOGITS, 8, codebook, indices, SCALE, np.zeros(CLASSES, np.int32)
    )
    names = tuple(f"class{number}" for number in range(CLASSES))
    suffix = "-uniform" if uniform else ""
    model = IntegerModel(INPUT_HWC, tuple(convs), classifier, names)
    return Net(f"synthetic-{size}{suffix}", weight_bits, model, f"size {size}")


def _shapes(layout: Layout) -> Iterator[tuple[int, int, int]]:
    """(input channels, output channels, stride) of each convolution."""
    channels = INPUT_HWC[2]
    for width, depth, stride in zip(layout.widths, layout.depths, layout.strides, strict=True):
        for number in range(depth):
            yield channels, width, stride if number == 0 else 1
            channels = width


def _weights(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, *, uniform: bool = False
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """(codebook, indices), output channel first."""
    weight = rng.laplace(size=shape)
    if uniform:
        highest = min(2 ** (bits - 1) - 1, INT4_MAX)
        codebook = np.arange(-highest, highest + 1).astype(np.int8)
        return codebook, nearest_indices(weight * highest / 4, codebook)  # 4 scale lengths: few are clipped
    units = weight * GRID_MAX / np.abs(weight).max()
    codebook = optimal_codebook(units.reshape(-1), 2**bits)
    return codebook, nearest_indices(units, codebook)
