"""Augmentation."""

from __future__ import annotations

import torch

from train.augment import augment
from train.config import AugmentConfig


def images() -> torch.Tensor:
    return torch.rand(64, 2, 9, 7, generator=torch.Generator().manual_seed(0))


def changed(config: AugmentConfig, seed: int = 1) -> torch.Tensor:
    return augment(images(), config, generator=torch.Generator().manual_seed(seed))


def test_no_augmentation_changes_nothing():
    assert torch.equal(changed(AugmentConfig()), images())


def test_same_seed_gives_the_same_images():
    config = AugmentConfig(shift_pixels=2, horizontal_flip=True, rotate_degrees=10, scale=0.1, cutout_pixels=3)
    assert torch.equal(changed(config), changed(config))
    assert not torch.equal(changed(config), changed(config, seed=2))


def test_flipped_images_are_mirrored_or_untouched():
    result = changed(AugmentConfig(horizontal_flip=True))
    mirrored = (result == images().flip(3)).flatten(1).all(1)
    untouched = (result == images()).flatten(1).all(1)
    assert (mirrored | untouched).all()
    assert mirrored.any() and untouched.any()


def test_shifted_image_is_a_window_of_the_padded_one():
    padded = torch.nn.functional.pad(images(), [2] * 4)
    for source, result in zip(padded, changed(AugmentConfig(shift_pixels=2)), strict=True):
        windows = [source[:, row : row + 9, column : column + 7] for row in range(5) for column in range(5)]
        assert any(torch.equal(window, result) for window in windows)


def test_cutout_blackens_at_most_a_square():
    black = (changed(AugmentConfig(cutout_pixels=3)) == 0).all(dim=1)
    assert black.any()
    assert black.sum(dim=(1, 2)).max() <= 9


def test_rotated_images_stay_in_range():
    result = changed(AugmentConfig(rotate_degrees=30, scale=0.2))
    assert result.shape == images().shape
    assert result.min() >= 0 and result.max() <= 1
