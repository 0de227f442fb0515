"""A folder of images as a data set: `train/<class>/*.png|jpg` and `test/<class>/…`, classes in alphabetical order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from train.dataset import Dataset, UInt8, resize_image
from train.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")  # more than 8 bits a channel: converting would clip
CLASSES_MAX = 256


def load_image_folder(folder: Path, *, channels: int, resize: tuple[int, int] | None) -> Dataset:
    """Every image below `folder`, as `channels` (1 grey, 3 RGB), resized to `resize` [H, W] where given."""
    class_names = _class_names(folder / "train")
    if _class_names(folder / "test") != class_names:
        raise DataError(
            f"{folder / 'test'}: classes {_class_names(folder / 'test')}, train has {class_names}; "
            "allowed are the same class folders in both"
        )
    arrays = [_load_split(folder / split, class_names, channels=channels, resize=resize) for split in ("train", "test")]
    return Dataset(folder.name, tuple(class_names), *arrays[0], *arrays[1])


def _class_names(split: Path) -> list[str]:
    if not split.is_dir():
        raise DataError(f"{split}: no such folder; allowed are train/<class>/ and test/<class>/; create it")
    names = sorted(path.name for path in split.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not 2 <= len(names) <= CLASSES_MAX:
        raise DataError(f"{split}: {len(names)} class folders, allowed 2 to {CLASSES_MAX}; add one folder per class")
    return names


def _load_split(
    split: Path, class_names: list[str], *, channels: int, resize: tuple[int, int] | None
) -> tuple[UInt8, UInt8]:
    """(images (N, H, W, C), labels (N,)) of one split, in class order, then file name order."""
    images: list[UInt8] = []
    labels: list[int] = []
    for label, class_name in enumerate(class_names):
        for path in _image_paths(split / class_name):
            pixels = read_image(path, channels=channels, resize=resize)
            if images and pixels.shape != images[0].shape:
                raise DataError(
                    f"{path}: {pixels.shape[0]}x{pixels.shape[1]} pixels (HxW), the images before are "
                    f"{images[0].shape[0]}x{images[0].shape[1]}, allowed is one size; set data.resize: [H, W] in the recipe"
                )
            images.append(pixels)
            labels.append(label)
    return np.stack(images), np.array(labels, np.uint8)


def _image_paths(folder: Path) -> list[Path]:
    """The image files of one class; hidden files are not looked at, anything else is an error."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise DataError(f"{path}: not an image file, allowed {', '.join(SUFFIXES)}; move it elsewhere")
    if not paths:
        raise DataError(f"{folder}: class folder without images, allowed at least one; add images or remove the folder")
    return paths


def read_image(path: Path, *, channels: int, resize: tuple[int, int] | None) -> UInt8:
    """uint8 (H, W, C), turned upright as its EXIF data say."""
    try:
        with Image.open(path) as opened:
            if opened.mode in DEEP_MODES:
                raise DataError(f"{path}: image mode {opened.mode}, allowed 8 bits a channel; convert it")
            upright = ImageOps.exif_transpose(opened).convert(MODES[channels])
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); replace or remove it") from error
    if resize is not None:
        upright = resize_image(upright, resize)
    return np.asarray(upright, np.uint8).reshape(upright.height, upright.width, channels)
