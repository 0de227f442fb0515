"""CIFAR-10 from three forms: the official python batches, the official binary ones, or gradient-packed gzip planes.

Binary: per image 1 label byte, then 1024 R, 1024 G, 1024 B bytes. Packed (`data_batch_N.grad.gz`): the planes
G, R − G, B − G (mod 256), each (10000, 32, 32), as residuals x − (left + up − up-left) mod 256; labels of all 60,000
images in `labels.bin`; `inexact.csv` names the images that are not bit-exact.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from train.artefact import sha256_file
from train.dataset import DATA_VARIABLE, Dataset, UInt8, looked_in
from train.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
BATCH_IMAGES = 10_000
PLANES = (3, 32, 32)
IMAGE_BYTES = 3072
OFFICIAL_MD5 = {  # of the python batches, as published beside them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
Batch = tuple[UInt8, UInt8]  # planes (N, 3, 32, 32), labels (N,)


def find_cifar10(directories: list[Path]) -> Path:
    """The first folder that holds a form of CIFAR-10: <data dir>/cifar10, its official subfolders, or <data dir>."""
    subfolders = ("cifar10", "cifar-10-batches-py", "cifar-10-batches-bin")
    places = [place for directory in directories for place in (*(directory / name for name in subfolders), directory)]
    for place in places:
        for folder in (place, *(place / name for name in subfolders[1:])):
            if any((folder / f"test_batch{suffix}").is_file() for suffix in ("", ".bin", ".grad.gz")):
                return folder
    raise DataError(
        f"CIFAR-10 not found, looked in {looked_in(directories)} (each with cifar10/ and cifar-10-batches-py/ below); "
        "download cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it there, "
        f"or name its folder with --data-dir or ${DATA_VARIABLE}"
    )


def load_cifar10(folder: Path) -> Dataset:
    """50,000 training and 10,000 test images (N, 32, 32, 3) in the official order."""
    if (folder / "test_batch.grad.gz").is_file():
        notes = (*_verify_sums(folder), _inexact_note(folder))
        batches = _packed_batches(folder)
    elif (folder / "test_batch.bin").is_file():
        notes = ("official binary layout; its checksums are not published per file",)
        batches = [_binary_batch(folder / f"{name}.bin") for name in BATCHES]
    else:
        notes = (_official_note(folder),)
        batches = [_python_batch(folder / name) for name in BATCHES]
    images = np.concatenate([planes for planes, _ in batches]).transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    images, labels = np.ascontiguousarray(images), np.concatenate([labels for _, labels in batches])
    split = 5 * BATCH_IMAGES
    return Dataset("cifar10", CLASS_NAMES, images[:split], labels[:split], images[split:], labels[split:], notes)


def _checked(path: Path, planes: UInt8, labels: UInt8) -> Batch:
    if planes.shape != (BATCH_IMAGES, *PLANES) or labels.shape != (BATCH_IMAGES,) or int(labels.max()) > 9:
        raise DataError(
            f"{path}: images {planes.shape}, labels {labels.shape}, allowed {(BATCH_IMAGES, *PLANES)} and "
            f"({BATCH_IMAGES},) with labels 0 to 9; download the batch again"
        )
    return planes, labels


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); all six batches are needed; put it there"
        ) from error


def _binary_batch(path: Path) -> Batch:
    content = np.frombuffer(_read(path), np.uint8)
    record = 1 + IMAGE_BYTES
    if content.size != BATCH_IMAGES * record:
        raise DataError(f"{path}: {content.size} bytes, allowed {BATCH_IMAGES * record}; download the batch again")
    records = content.reshape(BATCH_IMAGES, record)
    return _checked(path, records[:, 1:].reshape(-1, *PLANES), records[:, 0].copy())


class _BatchUnpickler(pickle.Unpickler):
    """Reads what the official batches hold, and nothing that could run code."""

    ALLOWED = {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, allowed are numpy arrays only")
        return super().find_class(module, name)


def _python_batch(path: Path) -> Batch:
    try:
        content = _BatchUnpickler(io.BytesIO(_read(path)), encoding="bytes").load()
        planes, labels = content[b"data"], content[b"labels"]
        return _checked(path, np.asarray(planes, np.uint8).reshape(-1, *PLANES), np.array(labels, np.uint8))
    except DataError:
        raise
    except Exception as error:  # a pickle's bytes can raise nearly anything
        raise DataError(f"{path}: not a CIFAR-10 python batch ({error}); download it again") from error


def _official_note(folder: Path) -> str:
    sums = {name: hashlib.md5(_read(folder / name), usedforsecurity=False).hexdigest() for name in BATCHES}
    official = sum(sums[name] == OFFICIAL_MD5[name] for name in BATCHES)
    return f"{official} of {len(BATCHES)} python batches have the published MD5"


def _packed_batches(folder: Path) -> list[Batch]:
    labels = np.frombuffer(_read(folder / "labels.bin"), np.uint8)
    expected = len(BATCHES) * BATCH_IMAGES
    if labels.size != expected:
        raise DataError(f"{folder / 'labels.bin'}: {labels.size} bytes, allowed {expected}; copy the file again")
    batches = []
    for number, name in enumerate(BATCHES):
        path = folder / f"{name}.grad.gz"
        chosen = labels[number * BATCH_IMAGES : (number + 1) * BATCH_IMAGES]
        batches.append(_checked(path, unpack_planes(path), chosen))
    return batches


def unpack_planes(path: Path) -> UInt8:
    """(N, 3, 32, 32) R, G, B of one packed batch."""
    try:
        content = gzip.decompress(_read(path))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); copy the file again") from error
    if len(content) != BATCH_IMAGES * IMAGE_BYTES:
        raise DataError(f"{path}: {len(content)} bytes unpacked, allowed {BATCH_IMAGES * IMAGE_BYTES}; copy it again")
    residuals = np.frombuffer(content, np.uint8).reshape(3, -1, 32, 32)
    # uint8 sums wrap, which is the arithmetic mod 256 that the packing used
    planes = residuals.cumsum(axis=2, dtype=np.uint8).cumsum(axis=3, dtype=np.uint8)
    green = planes[0]
    return np.stack([planes[1] + green, green, planes[2] + green], axis=1)


def _verify_sums(folder: Path) -> list[str]:
    """Compare the packed files with SHA256SUMS where there is one."""
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return ["no SHA256SUMS beside the packed files: not verified"]
    needed = {f"{name}.grad.gz" for name in BATCHES} | {"labels.bin", "inexact.csv"}
    rows = [line.split(maxsplit=1) for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if any(len(row) < 2 for row in rows):
        raise DataError(f"{path}: a line without a file name, allowed are digest and name; copy the file again")
    listed = {name.strip(): digest for digest, name in rows}
    verified = sorted(needed & set(listed))
    for name in verified:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: missing, SHA256SUMS lists it; all packed files are needed; put it there")
        if sha256_file(folder / name) != listed[name].lower():
            raise DataError(f"{folder / name}: SHA-256 differs from SHA256SUMS; the file is altered; copy it again")
    return [f"{len(verified)} of {len(needed)} packed files verified against SHA256SUMS"]


def _inexact_note(folder: Path) -> str:
    """How many images the packing could not restore bit for bit; they are kept."""
    path = folder / "inexact.csv"
    if not path.is_file():
        return "no inexact.csv: exactness of the images unknown"
    try:
        with path.open(newline="") as handle:
            batches = [int(row[0]) for row in list(csv.reader(handle))[1:]]
    except (ValueError, IndexError, csv.Error) as error:
        raise DataError(
            f"{path}: no list of images ({error}), a batch number begins each row; copy it again"
        ) from error
    test = sum(batch == BATCHES.index("test_batch") for batch in batches)
    return f"{len(batches)} of {len(BATCHES) * BATCH_IMAGES} images are inexact and kept ({len(batches) - test} train, {test} test)"
