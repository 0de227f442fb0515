"""The validation split, a seeded, stratified share of the training images, and both parts as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.config import TrainingRecipe
from train.dataset import Dataset
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


@dataclass(frozen=True)
class Splits:
    """uint8 images (N, C, H, W), channels last, and int64 labels (N,), on the training device."""

    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor


def make_splits(recipe: TrainingRecipe, dataset: Dataset, device: str) -> Splits:
    """Training and validation images as tensors; the test split stays out of reach."""
    train, validation = split_validation(dataset.train_labels, share=recipe.data.validation_share, seed=recipe.seed)
    return Splits(
        *to_tensors(dataset.train_images[train], dataset.train_labels[train], device),
        *to_tensors(dataset.train_images[validation], dataset.train_labels[validation], device),
    )


def to_tensors(images: NDArray[np.uint8], labels: NDArray[np.uint8], device: str) -> tuple[Tensor, Tensor]:
    """(uint8 (N, C, H, W), stored channels last; int64 (N,))."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2), torch.from_numpy(labels.astype(np.int64)).to(device)
