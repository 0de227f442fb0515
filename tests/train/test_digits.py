"""The embedded digits."""

from __future__ import annotations

import numpy as np

from train.config import DataConfig
from train.dataset import load_dataset
from train.digits import DIGITS_FILE, load_digits


def test_digits_are_1797_images_with_every_fifth_of_a_class_in_test():
    digits = load_digits()
    assert digits.split_sizes == {"train": 1433, "test": 364}
    assert digits.input_hwc == (8, 8, 1)
    assert np.bincount(digits.test_labels).tolist() == [36, 37, 36, 37, 37, 37, 37, 36, 35, 36]


def test_ink_0_to_16_becomes_pixels_0_to_255():
    digits = load_digits()
    with np.load(DIGITS_FILE) as stored:
        levels = len(np.unique(stored["images"]))
    assert levels == 17
    assert np.unique(digits.train_images).tolist() == [int(ink * 255 / 16 + 0.5) for ink in range(17)]


def test_digits_content_is_pinned():
    assert load_digits().sha256 == "0a9fcca5bf6542426f254803c0b4e339daa60a04b4a3b0e0c472578dd284ce84"


def test_digits_can_be_resized():
    assert load_dataset(DataConfig(resize=(12, 10))).input_hwc == (12, 10, 1)
