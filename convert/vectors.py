"""Test vectors: the test split's images and labels with the reference's logits, in one file that deploy reads.

`vectors.npz`: `images` uint8 (N, H, W, C), `labels` uint8 (N,), `logits` int8 (N, classes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.artefact import atomic_path
from train.errors import ArtefactError

FILE_NAME = "vectors.npz"


@dataclass(frozen=True)
class Vectors:
    """Images, labels and reference logits of the test split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    logits: NDArray[np.int8]

    def first(self, count: int) -> Vectors:
        """The first `count` vectors."""
        return Vectors(self.images[:count], self.labels[:count], self.logits[:count])


def save_vectors(vectors: Vectors, path: Path) -> None:
    """Write the file whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, images=vectors.images, labels=vectors.labels, logits=vectors.logits)


def load_vectors(path: Path) -> Vectors:
    """Read the file; `ArtefactError` where it is missing or damaged."""
    try:
        with np.load(path) as archive:
            return Vectors(archive["images"], archive["labels"], archive["logits"])
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file; the convert stage writes it") from error
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise ArtefactError(f"{path}: damaged ({error}); run the convert stage again") from error
