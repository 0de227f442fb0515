"""Data sets: what one is, where it is looked for, and `load_dataset`.

Pixels stay 0 … 255 and training sees pixel / 255: no per-channel normalisation, because it cannot be folded exactly
into a convolution with zero padding.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.config import DataConfig
from train.errors import ConfigError, DataError

UInt8 = NDArray[np.uint8]
DATA_VARIABLE = "REPEDGE_DATA"


@dataclass(frozen=True)
class Dataset:
    """Images uint8 (N, H, W, C), labels uint8 (N,) below len(class_names); `notes` are facts worth reporting."""

    name: str
    class_names: tuple[str, ...]
    train_images: UInt8
    train_labels: UInt8
    test_images: UInt8
    test_labels: UInt8
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise DataError(
                f"data set {self.name}: {len(self.class_names)} class, allowed 2 to 256; add images of another class"
            )
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            _check_split(f"data set {self.name}, {split} split", images, labels, len(self.class_names))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"data set {self.name}: training images are {self.train_images.shape[1:]} (H, W, C), "
                f"test images {self.test_images.shape[1:]}, allowed is one size; set data.resize in the recipe"
            )

    @property
    def input_hwc(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    @property
    def split_sizes(self) -> dict[str, int]:
        """Images per split; the validation images are part of `train`."""
        return {"train": len(self.train_labels), "test": len(self.test_labels)}

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the content: class names, shapes, pixels, labels."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _check_split(where: str, images: UInt8, labels: UInt8, classes: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(f"{where}: images {images.dtype}{images.shape}, allowed uint8 (N, H, W, 1 or 3); convert them")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise DataError(f"{where}: {labels.shape} labels for {len(images)} images, allowed one each; check the files")
    if not len(images):
        raise DataError(f"{where}: no images, allowed at least one; check the files")
    if int(labels.max()) >= classes:
        raise DataError(f"{where}: label {labels.max()}, allowed 0 to {classes - 1}; check the files")


def load_dataset(config: DataConfig, data_dir: Path | None = None) -> Dataset:
    """The recipe's data set; files are looked for in `data_dir`, $REPEDGE_DATA, then ./data."""
    # each reader imports this module for Dataset
    from train import cifar10, digits, idx, image_folder

    if config.channels is not None and config.name != "folder":
        raise ConfigError(f"data.channels with data.name {config.name}; allowed with folder only; remove the key")
    if config.name == "digits":
        return resize_dataset(digits.load_digits(), config.resize)
    if config.name == "cifar10":
        return resize_dataset(cifar10.load_cifar10(cifar10.find_cifar10(data_directories(data_dir))), config.resize)
    folder = find_folder(config, data_directories(data_dir))
    if config.name == "idx":
        return resize_dataset(idx.load_idx(folder), config.resize)
    return image_folder.load_image_folder(folder, channels=config.channels or 3, resize=config.resize)


def data_directories(data_dir: Path | None) -> list[Path]:
    """Where data sets are looked for, in order."""
    named = [data_dir] if data_dir is not None else []
    from_environment = [Path(os.environ[DATA_VARIABLE])] if os.environ.get(DATA_VARIABLE) else []
    return [*named, *from_environment, Path("data")]


def looked_in(directories: list[Path]) -> str:
    """The places of a search, for a message."""
    return ", ".join(str(directory.absolute()) for directory in directories)


def find_folder(config: DataConfig, directories: list[Path]) -> Path:
    """The folder that `data.path` names."""
    if config.path is None:
        raise ConfigError(f"data.name {config.name} without data.path; set data.path to the folder with the images")
    places = [config.path] if config.path.is_absolute() else [directory / config.path for directory in directories]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(
        f"data.path {config.path}: no such folder, looked for {looked_in(places)}; "
        f"put the data there, or name its parent with --data-dir or ${DATA_VARIABLE}"
    )


def resize_image(image: Image.Image, size_hw: tuple[int, int]) -> Image.Image:
    """Bilinear with antialiasing."""
    return image.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)


def resize_images(images: UInt8, size_hw: tuple[int, int]) -> UInt8:
    """(N, H, W, C) -> (N, *size_hw, C)."""
    resized = np.empty((len(images), *size_hw, images.shape[3]), np.uint8)
    for number, pixels in enumerate(images):
        source = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        resized[number] = np.asarray(resize_image(source, size_hw)).reshape(*size_hw, -1)
    return resized


def resize_dataset(dataset: Dataset, size_hw: tuple[int, int] | None) -> Dataset:
    """The same data set at another size; unchanged where `size_hw` is None or already true."""
    if size_hw is None or dataset.input_hwc[:2] == tuple(size_hw):
        return dataset
    return Dataset(
        dataset.name,
        dataset.class_names,
        resize_images(dataset.train_images, size_hw),
        dataset.train_labels,
        resize_images(dataset.test_images, size_hw),
        dataset.test_labels,
        dataset.notes,
    )
