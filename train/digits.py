"""The embedded data set: 1,797 handwritten digits, 8×8, 0 … 16 (UCI optical recognition set; see optdigits_LICENSE.txt)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.dataset import Dataset, UInt8

DIGITS_FILE = Path(__file__).with_name("optdigits.npz")
INK_MAX = 16
TEST_EVERY = 5


def load_digits() -> Dataset:
    """1,433 training and 364 test images (N, 8, 8, 1); ink 0 … 16 becomes round(ink · 255 / 16)."""
    with np.load(DIGITS_FILE) as stored:
        ink, labels = stored["images"], stored["labels"]
    images = np.floor(ink.astype(np.float64) * 255 / INK_MAX + 0.5).astype(np.uint8)[..., None]
    test = every_fifth_of_each_class(labels)
    return Dataset(
        name="digits",
        class_names=tuple(str(digit) for digit in range(10)),
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
    )


def every_fifth_of_each_class(labels: UInt8) -> np.ndarray:
    """bool (N,): the first, sixth, eleventh … image of each class, the fixed test split."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[::TEST_EVERY]] = True
    return chosen
