"""The proof that integer Winograd gives the convolution's own integers, at its edges."""

from __future__ import annotations

import numpy as np
import pytest

from convert.integer_model import Quantization, QuantizedConv
from convert.winograd import F2, F4, INT16, largest_input, largest_sums, largest_weight, winograd_obstacle

TRANSFORMS = pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])


def _conv(weight, *, bias=0, zero_point=-128, scales=(0.02, 0.01, 20.0)):
    """One or more output channels of weights (O, 3, 3, I) that are −127 or 127."""
    indices = (weight > 0).astype(np.uint8)
    given, each, out = (np.float32(scale) for scale in scales)
    channels = len(indices)
    return QuantizedConv(
        "conv",
        1,
        Quantization(given, zero_point),
        Quantization(out, -128),
        8,
        2,
        np.array([-127, 127], np.int8),
        indices,
        np.full(channels, each),
        np.full(channels, bias, np.int32),
    )


@TRANSFORMS
def test_transform_is_a_multiple_of_the_convolution(transform):
    rng = np.random.default_rng(1)
    side = transform.outputs + 2
    for _ in range(50):
        patch, kernel = rng.integers(-255, 256, (side, side)), rng.integers(-127, 128, (3, 3))
        v = transform.input @ patch @ transform.input.T
        u = transform.weights @ kernel @ transform.weights.T
        convolution = [
            [(patch[y : y + 3, x : x + 3] * kernel).sum() for x in range(transform.outputs)]
            for y in range(transform.outputs)
        ]
        product = transform.output @ (u * v) @ transform.output.T
        assert np.array_equal(product, transform.divisor * np.array(convolution))


@TRANSFORMS
@pytest.mark.parametrize("zero_point", [-128, -5, 127])
def test_largest_input_is_reached_and_fits_int16(transform, zero_point):
    factors = np.einsum("ix,jy->ijxy", transform.input, transform.input).reshape(-1, transform.input.size)
    low, high = -128 - zero_point, 127 - zero_point
    patches = [np.where(sign * factors > 0, high, low) for sign in (1, -1)]
    reached = max(int(np.abs((factors * patch).sum(axis=1)).max()) for patch in patches)
    assert reached <= largest_input(transform, zero_point) < INT16


@TRANSFORMS
def test_any_int8_weights_fit_int16(transform):
    rng = np.random.default_rng(2)
    signs = np.sign(transform.weights[:, :, None, None] * transform.weights[None, None, :, :]).transpose(0, 2, 1, 3)
    worst = np.where(signs.reshape(-1, 3, 3, 1) >= 0, 127, -127).astype(np.int8)
    bound = 2 * 127 * int(np.abs(transform.weights).sum(axis=1).max()) ** 2
    assert largest_weight(transform, worst) == bound < INT16
    assert largest_weight(transform, rng.integers(-127, 128, (8, 3, 3, 4)).astype(np.int8)) <= bound


@TRANSFORMS
def test_sums_up_to_the_limit_are_accepted_and_beyond_refused(transform):
    channels = transform.sum_limit // (9 * 127 * 255)  # all weights 127 and all inputs 255
    below, beyond = (_conv(np.ones((1, 3, 3, count)), scales=(0.02, 0.01, 1e3)) for count in (channels, channels + 1))
    assert largest_sums(below).max() < transform.sum_limit <= largest_sums(beyond).max()
    assert winograd_obstacle(below, transform) is None
    assert "sums may reach" in str(winograd_obstacle(beyond, transform))


def test_weights_of_both_signs_reach_half_as_far():
    weight = np.ones((1, 3, 3, 8))
    weight[..., ::2] = -1
    assert largest_sums(_conv(weight))[0] == 9 * 4 * 127 * 255
    assert largest_sums(_conv(weight, zero_point=0))[0] == 9 * 4 * 127 * (128 + 127)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bias": 2**30}, "accumulators may reach"),
        ({"scales": (0.02, 0.01, 1e-5)}, "shifts left"),
        ({"scales": (0.02, 0.01, 2000.0), "bias": 2**29}, "shifts right"),
    ],
)
def test_requantization_that_would_leave_int32_is_refused(change, reason):
    assert winograd_obstacle(_conv(np.ones((4, 3, 3, 4))), F4) is None
    assert reason in str(winograd_obstacle(_conv(np.ones((4, 3, 3, 4)), **change), F4))


def test_a_channel_that_rounds_to_zero_may_shift_further():
    assert winograd_obstacle(_conv(np.ones((4, 3, 3, 4)), scales=(1e-6, 1e-6, 1.0)), F4) is None
