from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from convert.vectors import Vectors
from deploy.report_samples import IMAGES, MAX_SIDE, class_samples, confusion_samples, data_uri


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_data_uri_holds_the_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (8, 6, channels), np.uint8)
    assert np.array_equal(pixels(data_uri(image)).reshape(image.shape), image)


def test_a_large_image_is_made_smaller_and_keeps_its_proportions():
    assert pixels(data_uri(np.zeros((96, 192, 3), np.uint8))).shape == (MAX_SIDE // 2, MAX_SIDE, 3)


def test_samples_are_the_first_images_of_their_kind():
    labels = np.array([0, 0, 1, 1, 1, 2] + [2] * 9, np.uint8)
    predictions = np.array([1, 0, 1, 2, 2, 2] + [0] * 9)
    logits = np.eye(4, dtype=np.int8)[predictions]
    images = np.arange(15, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((15, 4, 4, 1), np.uint8)
    vectors = Vectors(images, labels, logits)
    matrix = np.array([[1, 1, 0, 0], [0, 1, 2, 0], [9, 0, 1, 0], [0, 0, 0, 0]])
    rows = confusion_samples(vectors, matrix)
    assert [(row["true"], row["predicted"]) for row in rows] == [(2, 0), (1, 2), (0, 1)]
    assert [[image["index"] for image in row["images"]] for row in rows] == [list(range(6, 6 + IMAGES)), [3, 4], [0]]
    assert [int(pixels(uri)[0, 0]) for uri in class_samples(vectors, 4)[:3]] == [1, 2, 5]
    assert class_samples(vectors, 4)[3] is None
