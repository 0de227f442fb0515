"""Fixed-point requantization against a scalar transcription of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.requantize import (
    convolution_multipliers,
    fully_connected_multipliers,
    quantize_multiplier,
    requantize,
)

INT32 = st.integers(-(2**31), 2**31 - 1)


def scalar_requantize(x: int, multiplier: int, shift: int) -> int:
    """Python integers only: doubling high multiply truncating towards zero, then half away from zero."""
    left, right = max(shift, 0), max(-shift, 0)
    x = ((x << left) + 2**31) % 2**32 - 2**31
    product = x * multiplier
    total = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(total) // 2**31 * (1 if total >= 0 else -1)
    if right == 0:
        return high
    quotient, remainder = divmod(high, 2**right)
    threshold = (2**right - 1) // 2 + (1 if high < 0 else 0)
    return quotient + (1 if remainder > threshold else 0)


@given(x=INT32, multiplier=st.integers(2**30, 2**31 - 1), shift=st.integers(-31, 8))
def test_requantize_equals_the_scalar_definition(x, multiplier, shift):
    got = requantize(np.array([x], np.int64), np.array([multiplier], np.int32), np.array([shift], np.int32))
    assert int(got[0]) == scalar_requantize(x, multiplier, shift)


@given(st.floats(1e-9, 1e6))
def test_multiplier_and_shift_give_back_the_real_multiplier(real):
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(real, rel=2.0**-30)


def test_ties_of_the_high_multiply_go_up_as_in_tflite():
    half = quantize_multiplier(0.5)
    got = requantize(np.array([3, -3, 1, -1], np.int64), *(np.full(4, v, np.int32) for v in half))
    assert got.tolist() == [2, -1, 1, 0]


def test_a_multiplier_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        quantize_multiplier(float("nan"))


def test_fully_connected_takes_the_float32_product_when_the_scale_is_per_tensor():
    scales = np.float32(0.0123), np.array([0.0456], np.float32), np.float32(0.789)
    per_tensor = fully_connected_multipliers(*scales, 2)
    product = float(np.float32(0.0123) * np.float32(0.0456)) / float(np.float32(0.789))
    assert (int(per_tensor[0][0]), int(per_tensor[1][0])) == quantize_multiplier(product)
    assert convolution_multipliers(*scales, 2)[0].shape == (2,)
