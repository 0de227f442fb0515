"""A folder of images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from train.config import DataConfig
from train.dataset import load_dataset
from train.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """mine/{train,test}/{cat,dog}: 3 and 1 images of 6×8 (HxW)."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 1)):
        for name in ("dog", "cat"):
            target = tmp_path / "mine" / split / name
            target.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(target / f"{number}.png")
    return tmp_path / "mine"


def load(folder, **keys):
    return load_dataset(DataConfig(name="folder", path=folder, **keys))


def test_classes_are_alphabetical_and_images_in_file_order(folder):
    dataset = load(folder)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    with Image.open(folder / "train" / "dog" / "1.png") as image:
        assert np.array_equal(dataset.train_images[4], np.asarray(image))


def test_grey_images_have_one_channel(folder):
    assert load(folder, channels=1).input_hwc == (6, 8, 1)


def test_image_of_another_size_names_the_path_and_the_key(folder):
    Image.new("RGB", (9, 9)).save(folder / "train" / "dog" / "odd.jpg")
    with pytest.raises(DataError, match=r"train/dog/odd\.jpg: 9x9 .*data\.resize"):
        load(folder)


def test_images_of_different_sizes_are_resized(folder):
    Image.new("RGB", (9, 9)).save(folder / "train" / "dog" / "odd.jpg")
    assert load(folder, resize=(12, 10)).train_images.shape == (7, 12, 10, 3)


def test_splits_of_different_sizes_name_the_key(folder):
    for path in (folder / "test").glob("*/*.png"):
        Image.new("RGB", (9, 9)).save(path)
    with pytest.raises(DataError, match=r"data\.resize"):
        load(folder)


def test_empty_class_folder_is_an_error_that_names_it(folder):
    (folder / "train" / "cat" / "0.png").unlink()
    for path in (folder / "train" / "cat").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"train/cat: class folder without images"):
        load(folder)


def test_single_class_is_an_error(folder):
    for split in ("train", "test"):
        (folder / split / "dog").rename(folder / f"{split}-dog")
    with pytest.raises(DataError, match=r"train: 1 class folders, allowed 2 to 256"):
        load(folder)


def test_unreadable_image_is_an_error_that_names_it(folder):
    (folder / "train" / "dog" / "broken.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(DataError, match=r"train/dog/broken\.png: cannot be read"):
        load(folder)


def test_truncated_image_is_an_error_that_names_it(folder):
    path = folder / "train" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(DataError, match=r"train/dog/0\.png: cannot be read"):
        load(folder)


def test_file_that_is_no_image_is_an_error(folder):
    (folder / "train" / "dog" / "notes.txt").write_text("woof")
    with pytest.raises(DataError, match=r"notes\.txt: not an image file"):
        load(folder)


def test_test_split_with_other_classes_is_an_error(folder):
    (folder / "test" / "dog").rename(folder / "test" / "wolf")
    with pytest.raises(DataError, match="wolf"):
        load(folder)
