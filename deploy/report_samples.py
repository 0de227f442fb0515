"""Test images for the report's confusion section, as data URIs: one of each class, and some of the most frequent confusions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convert.reference import predict
from convert.vectors import Vectors

PAIRS = 5  # confusions shown
IMAGES = 6  # of each
MAX_SIDE = 48  # pixels; larger images are made smaller


def class_samples(vectors: Vectors, classes: int) -> list[str | None]:
    """Per class the first test image that the reference gets right, else the first of the class, else None."""
    right = predict(vectors.logits) == vectors.labels
    samples: list[str | None] = []
    for number in range(classes):
        of_class = np.flatnonzero(vectors.labels == number)
        known = of_class[right[of_class]]
        chosen = known if known.size else of_class
        samples.append(data_uri(vectors.images[chosen[0]]) if chosen.size else None)
    return samples


def confusion_samples(vectors: Vectors, matrix: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The most frequent confusions, each with its first images: `true` and `predicted` are class numbers."""
    predictions = predict(vectors.logits)
    rows = []
    for true, predicted in frequent_confusions(matrix.tolist())[:PAIRS]:
        found = np.flatnonzero((vectors.labels == true) & (predictions == predicted))[:IMAGES]
        images = [{"index": int(index), "png": data_uri(vectors.images[index])} for index in found]
        rows.append({"true": true, "predicted": predicted, "images": images})
    return rows


def frequent_confusions(matrix: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """(true, predicted) of every confusion, the most frequent first, then by class.

    >>> frequent_confusions([[5, 1, 0], [0, 5, 3], [0, 1, 5]])
    [(1, 2), (0, 1), (2, 1)]
    """
    pairs = [(i, k) for i, row in enumerate(matrix) for k, count in enumerate(row) if i != k and count]
    return sorted(pairs, key=lambda pair: -matrix[pair[0]][pair[1]])


def data_uri(image: NDArray[np.uint8]) -> str:
    """A PNG of (H, W, 1 or 3) pixels as a data URI; no side is longer than `MAX_SIDE`."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if max(picture.size) > MAX_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
