"""Random merged float nets with He-scaled weights, so that activations neither die nor grow."""

from __future__ import annotations

import numpy as np

from convert.float_network import FloatConv, FloatNetwork


def random_float_network(
    seed: int,
    *,
    input_hwc: tuple[int, int, int] = (8, 8, 1),
    widths: tuple[int, ...] = (8, 8, 16),
    strides: tuple[int, ...] = (1, 2, 2),
    classes: int = 10,
) -> FloatNetwork:
    """A chain of random layers."""
    rng = np.random.default_rng(seed)
    channels, convs = input_hwc[2], []
    for number, (width, stride) in enumerate(zip(widths, strides, strict=True)):
        weight = rng.normal(0, np.sqrt(2 / (9 * channels)), (width, channels, 3, 3))
        convs.append(FloatConv(f"conv{number}", weight, rng.normal(0, 0.1, width), stride))
        channels = width
    classifier = rng.normal(0, np.sqrt(1 / channels), (classes, channels))
    return FloatNetwork(input_hwc, tuple(convs), classifier, rng.normal(0, 0.1, classes))
