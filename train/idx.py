"""MNIST-style idx files: big-endian, magic 0 0 type rank, then one uint32 per axis, then the bytes; plain or gzip.

| bytes        | meaning                                              |
| 0–1          | zero                                                 |
| 2            | element type; 0x08 = uint8, the only one read here   |
| 3            | rank: 1 labels, 3 grey images, 4 images with channels |
| 4 … 4·rank+3 | axis sizes, uint32 big-endian                        |
| then         | the elements                                         |
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from train.dataset import Dataset, UInt8
from train.errors import DataError

UINT8_TYPE = 0x08
SPLIT_NAMES = {"train": ("train",), "test": ("t10k", "test")}


def load_idx(folder: Path) -> Dataset:
    """The four idx files of a folder: train-images-idx3-ubyte, train-labels-idx1-ubyte and t10k-… (or test-…)."""
    arrays = {split: (_images(folder, split), _labels(folder, split)) for split in SPLIT_NAMES}
    classes = int(arrays["train"][1].max(initial=0)) + 1
    return Dataset(folder.name, tuple(str(label) for label in range(classes)), *arrays["train"], *arrays["test"])


def _images(folder: Path, split: str) -> UInt8:
    path = _find(folder, split, "images", "idx3")
    images = read_idx(path)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(f"{path}: {images.ndim} axes, allowed 3 (N, H, W) or 4 (N, H, W, C); check the file")
    return images


def _labels(folder: Path, split: str) -> UInt8:
    path = _find(folder, split, "labels", "idx1")
    labels = read_idx(path)
    if labels.ndim != 1:
        raise DataError(f"{path}: {labels.ndim} axes, allowed 1 (N,); check the file")
    return labels


def _find(folder: Path, split: str, content: str, kind: str) -> Path:
    names = [
        f"{prefix}-{content}{separator}{kind}-ubyte{suffix}"
        for prefix in SPLIT_NAMES[split]
        for separator in ("-", ".")
        for suffix in ("", ".gz")
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: no {split} {content}, looked for {', '.join(names)}; put one of these files there")


def read_idx(path: Path) -> UInt8:
    """The array of one idx file."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); download it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8_TYPE:
        begins = content[:4].hex() or "nothing"
        raise DataError(f"{path}: starts with {begins}, allowed 000008NN (uint8 idx); check the file")
    rank = content[3]
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(f"{path}: {len(content)} bytes, its header needs {header}; download it again")
    shape = struct.unpack(f">{rank}I", content[4:header])
    expected = header + math.prod(shape)  # of Python's integers: no shape overflows them
    if len(content) != expected:
        raise DataError(f"{path}: {len(content)} bytes, shape {shape} needs {expected}; download it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # torch wants writable memory
