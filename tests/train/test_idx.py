"""MNIST-style idx files."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from train.config import DataConfig
from train.dataset import load_dataset
from train.errors import ConfigError, DataError
from train.idx import read_idx


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx_set(folder, *, compress: bool = False, test_label: int = 2):
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (12, 6, 5), dtype=np.uint8),
        "train-labels-idx1-ubyte": (np.arange(12) % 3).astype(np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (4, 6, 5), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.array([0, 1, test_label, 0], np.uint8),
    }
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        path = folder / (name + ".gz" if compress else name)
        path.write_bytes(gzip.compress(content) if compress else content)
    return arrays


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_are_read_plain_and_compressed(tmp_path, compress):
    arrays = write_idx_set(tmp_path / "mine", compress=compress)
    dataset = load_dataset(DataConfig(name="idx", path="mine"), tmp_path)
    assert np.array_equal(dataset.train_images[..., 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(dataset.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert dataset.class_names == ("0", "1", "2")


def test_idx_data_folder_from_the_environment(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "mine")
    monkeypatch.setenv("REPEDGE_DATA", str(tmp_path))
    assert load_dataset(DataConfig(name="idx", path="mine")).input_hwc == (6, 5, 1)


def test_idx_images_can_be_resized(tmp_path):
    write_idx_set(tmp_path / "mine")
    assert load_dataset(DataConfig(name="idx", path="mine", resize=(8, 8)), tmp_path).input_hwc == (8, 8, 1)


def test_truncated_idx_file_is_an_error(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.zeros(10, np.uint8))[:-1])
    with pytest.raises(DataError, match=r"labels: 17 bytes, shape \(10,\) needs 18"):
        read_idx(path)


def test_a_header_that_overflows_64_bits_is_an_error(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3]) + 3 * b"\xff\xff\xff\xff")
    with pytest.raises(DataError, match=r"images: 16 bytes, shape .* needs 79228162458924105385300197391"):
        read_idx(path)


def test_an_empty_idx_file_is_an_error(tmp_path):
    path = tmp_path / "labels"
    path.touch()
    with pytest.raises(DataError, match="labels: starts with nothing"):
        read_idx(path)


def test_test_label_unknown_in_training_is_an_error(tmp_path):
    write_idx_set(tmp_path / "mine", test_label=7)
    with pytest.raises(DataError, match="test split: label 7, allowed 0 to 2"):
        load_dataset(DataConfig(name="idx", path="mine"), tmp_path)


def test_missing_folder_says_where_it_looked(tmp_path):
    with pytest.raises(DataError, match=f"looked for {tmp_path}/nowhere"):
        load_dataset(DataConfig(name="idx", path="nowhere"), tmp_path)


def test_missing_path_names_the_key():
    with pytest.raises(ConfigError, match=r"data\.path"):
        load_dataset(DataConfig(name="idx"))
