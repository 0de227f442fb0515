from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.report_statistics import confusion_matrix, wilson_interval


def test_wilson_interval_of_a_published_example():
    # 81 of 263: Newcombe 1998, table I, method 3 gives 0.2553 to 0.3662
    low, high = wilson_interval(100 * 81 / 263, 263)
    assert (round(low, 2), round(high, 2)) == (25.53, 36.62)


@given(images=st.integers(1, 10000), data=st.data())
def test_wilson_interval_holds_the_accuracy_and_stays_in_range(images, data):
    top1 = 100.0 * data.draw(st.integers(0, images)) / images
    low, high = wilson_interval(top1, images)
    assert 0 <= low <= top1 + 1e-9 and top1 - 1e-9 <= high <= 100


def test_more_images_narrow_the_interval():
    wide, narrow = wilson_interval(95.0, 200), wilson_interval(95.0, 10000)
    assert wide[0] < narrow[0] < 95.0 < narrow[1] < wide[1]


def test_confusion_rows_are_true_classes():
    matrix = confusion_matrix(np.array([0, 0, 1], np.uint8), np.array([0, 2, 1]), 3)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("top1", [0.0, 50.0, 100.0])
def test_no_images_say_nothing(top1):
    assert wilson_interval(top1, 0) == (0.0, 100.0)
