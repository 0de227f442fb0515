"""The validation split: a seeded, stratified share of the training images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.errors import DataError

Indices = NDArray[np.int64]


def split_validation(labels: NDArray[np.uint8], *, share: float, seed: int) -> tuple[Indices, Indices]:
    """(training, validation) positions, ascending; round(share · count) of each class is validation."""
    rng = np.random.default_rng([seed, len(labels)])
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(share * len(members))
        if count == len(members):
            raise DataError(
                f"class {label}: {len(members)} training images, all would be validation; "
                "add images or lower data.validation_share"
            )
        chosen[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
