"""CIFAR-10 in its three forms, on made-up batches."""

from __future__ import annotations

import gzip
import hashlib
import pickle

import numpy as np
import pytest

import train.cifar10
from train.cifar10 import BATCHES, find_cifar10, load_cifar10
from train.config import DataConfig
from train.dataset import load_dataset
from train.errors import DataError

IMAGES = 20  # per batch, instead of 10,000


@pytest.fixture(autouse=True)
def short_batches(monkeypatch):
    monkeypatch.setattr(train.cifar10, "BATCH_IMAGES", IMAGES)


@pytest.fixture
def batches():
    """planes (120, 3, 32, 32) and labels (120,)."""
    rng = np.random.default_rng(0)
    count = len(BATCHES) * IMAGES
    return rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8)


def parts(batches):
    for number, name in enumerate(BATCHES):
        chosen = slice(number * IMAGES, (number + 1) * IMAGES)
        yield name, batches[0][chosen], batches[1][chosen]


def write_packed(folder, batches):
    folder.mkdir()
    for name, planes, _ in parts(batches):
        red, green, blue = planes[:, 0], planes[:, 1], planes[:, 2]
        stacked = np.stack([green, red - green, blue - green])
        rows = np.diff(stacked, axis=2, prepend=np.uint8(0))
        residuals = np.diff(rows, axis=3, prepend=np.uint8(0))
        (folder / f"{name}.grad.gz").write_bytes(gzip.compress(residuals.tobytes(), 1))
    (folder / "labels.bin").write_bytes(batches[1].tobytes())
    (folder / "inexact.csv").write_text("batch,index,class\n0,5,ship\n5,7,horse\n")


def assert_holds(dataset, batches):
    images = np.concatenate([dataset.train_images, dataset.test_images])
    assert np.array_equal(images, batches[0].transpose(0, 2, 3, 1))
    assert np.array_equal(np.concatenate([dataset.train_labels, dataset.test_labels]), batches[1])


def test_binary_batches_are_read(tmp_path, batches):
    for name, planes, labels in parts(batches):
        records = np.concatenate([labels[:, None], planes.reshape(len(planes), -1)], axis=1)
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    assert_holds(load_cifar10(tmp_path), batches)


def test_python_batches_are_read_and_their_sums_reported(tmp_path, batches):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, planes, labels in parts(batches):
        content = {b"data": planes.reshape(len(planes), -1), b"labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    dataset = load_dataset(DataConfig(name="cifar10"), tmp_path)
    assert_holds(dataset, batches)
    assert dataset.notes == ("0 of 6 python batches have the published MD5",)


def test_packed_batches_are_unpacked_exactly_and_inexact_images_counted(tmp_path, batches):
    write_packed(tmp_path / "cifar10", batches)
    dataset = load_dataset(DataConfig(name="cifar10"), tmp_path)
    assert_holds(dataset, batches)
    assert dataset.notes[-1] == "2 of 120 images are inexact and kept (1 train, 1 test)"


def test_packed_file_that_differs_from_its_checksum_is_an_error(tmp_path, batches):
    write_packed(tmp_path / "cifar10", batches)
    wrong = hashlib.sha256(b"").hexdigest()
    (tmp_path / "cifar10" / "SHA256SUMS").write_text(f"{wrong}  labels.bin\n")
    with pytest.raises(DataError, match=r"labels\.bin.*SHA256SUMS"):
        load_cifar10(tmp_path / "cifar10")


class Harmful:
    """Unpickled without care, this would call print."""

    def __reduce__(self):
        return print, ("harm",)


def test_batch_that_would_run_code_is_refused(tmp_path, capsys):
    for name in BATCHES:
        (tmp_path / name).write_bytes(pickle.dumps({b"data": Harmful(), b"labels": []}))
    with pytest.raises(DataError, match=r"data_batch_1.*builtins\.print"):
        load_cifar10(tmp_path)
    assert capsys.readouterr().out == ""


def test_truncated_binary_batch_is_an_error_that_names_the_file(tmp_path):
    for name in BATCHES:
        (tmp_path / f"{name}.bin").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match=r"data_batch_1\.bin: 100 bytes"):
        load_cifar10(tmp_path)


def test_missing_cifar10_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=rf"looked in {tmp_path}.*cifar-10-python\.tar\.gz"):
        find_cifar10([tmp_path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.grad.gz", None, "missing, SHA256SUMS lists it"),
        ("SHA256SUMS", "no-digest\n", "a line without a file name"),
        ("inexact.csv", "batch\nship\n", "no list of images"),
    ],
)
def test_a_damaged_pack_is_one_error_that_names_the_file(tmp_path, batches, name, content, message):
    folder = tmp_path / "cifar10"
    write_packed(folder, batches)
    digest = hashlib.sha256((folder / "data_batch_3.grad.gz").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  data_batch_3.grad.gz\n")
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        load_cifar10(folder)
