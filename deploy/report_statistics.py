"""Statistics of the test split: confidence intervals of an accuracy and the confusion matrix."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # 97.5th percentile of the standard normal distribution


def wilson_interval(top1: float, images: int) -> tuple[float, float]:
    """95 % Wilson score interval of a top-1 accuracy, all in percent.

    >>> [round(bound, 2) for bound in wilson_interval(97.5, 200)]
    [94.28, 98.93]
    """
    if images < 1:
        return 0.0, 100.0
    share = top1 / 100.0
    denominator = 1 + Z_95**2 / images
    centre = (share + Z_95**2 / (2 * images)) / denominator
    half = Z_95 * math.sqrt(share * (1 - share) / images + Z_95**2 / (4 * images**2)) / denominator
    return 100.0 * max(0.0, centre - half), 100.0 * min(1.0, centre + half)


def confusion_matrix(labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: row = true class, column = predicted class."""
    flat = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)
