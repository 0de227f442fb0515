"""Requantization: TFLite's fixed-point multiply, bit for bit ("double rounding", as its reference kernels).

A real multiplier m = input_scale · weight_scale / output_scale becomes an int32 `multiplier` in [2^30, 2^31) and a
`shift` so that m ≈ multiplier · 2^(shift − 31). `requantize` is a saturating rounding doubling high multiply, then a
rounding right shift, half away from zero.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

INT32_MAX = np.int64(2**31 - 1)
INT32_MIN = np.int64(-(2**31))


def quantize_multiplier(real_multiplier: float) -> tuple[int, int]:
    """(multiplier, shift) of a non-negative real multiplier, as TFLite's QuantizeMultiplier.

    >>> quantize_multiplier(0.5)
    (1073741824, 0)
    >>> quantize_multiplier(0.0)
    (0, 0)
    """
    if not (math.isfinite(real_multiplier) and real_multiplier >= 0):
        raise ValueError(f"multiplier {real_multiplier}, allowed are finite values >= 0")
    if real_multiplier == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real_multiplier)
    multiplier = math.floor(fraction * 2**31 + 0.5)  # TfLiteRound: half away from zero; fraction > 0
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return 2**31 - 1, 30
    return multiplier, shift


def convolution_multipliers(
    input_scale: np.float32, weight_scale: NDArray[np.float32], output_scale: np.float32, channels: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Per-channel (multiplier, shift), each (O,): double(input) · double(weight) / double(output)."""
    scales = np.broadcast_to(weight_scale, (channels,))
    pairs = [quantize_multiplier(float(input_scale) * float(scale) / float(output_scale)) for scale in scales]
    return _columns(pairs)


def fully_connected_multipliers(
    input_scale: np.float32, weight_scale: NDArray[np.float32], output_scale: np.float32, channels: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """As TFLite's fully connected: with one scale per tensor the product is taken in float32 first."""
    if weight_scale.size != 1:
        return convolution_multipliers(input_scale, weight_scale, output_scale, channels)
    product = np.float32(input_scale) * np.float32(weight_scale.reshape(-1)[0])
    pair = quantize_multiplier(float(np.float32(product)) / float(output_scale))
    return _columns([pair] * channels)


def _columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    table = np.array(pairs, dtype=np.int32)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def requantize(
    accumulator: NDArray[np.int64], multiplier: NDArray[np.int32], shift: NDArray[np.int32]
) -> NDArray[np.int64]:
    """round(accumulator · multiplier · 2^(shift−31)) with both of TFLite's roundings; channels on the last axis.

    `accumulator` holds int32 values in int64. The left shift wraps in int32 as on the targets.
    """
    left = np.maximum(shift, 0).astype(np.int64)
    right = np.maximum(-shift, 0).astype(np.int64)
    shifted = _wrap_int32(accumulator << left)
    return _rounding_divide_by_power_of_two(_doubling_high_multiply(shifted, multiplier.astype(np.int64)), right)


def _wrap_int32(value: NDArray[np.int64]) -> NDArray[np.int64]:
    return ((value + 2**31) & 0xFFFFFFFF) - 2**31


def _doubling_high_multiply(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Saturating rounding doubling high multiply: (a·b + nudge) / 2^31 truncated towards zero."""
    product = a * b  # |a·b| <= 2^62 fits
    nudge = np.where(product >= 0, np.int64(1 << 30), np.int64(1 - (1 << 30)))
    total = product + nudge
    # arithmetic shift floors; TFLite divides, which truncates towards zero
    high = np.where(total >= 0, total >> 31, -((-total) >> 31))
    return np.where((a == INT32_MIN) & (b == INT32_MIN), INT32_MAX, high)


def _rounding_divide_by_power_of_two(value: NDArray[np.int64], exponent: NDArray[np.int64]) -> NDArray[np.int64]:
    """value / 2^exponent, half away from zero."""
    mask = (np.int64(1) << exponent) - 1
    remainder = value & mask
    threshold = (mask >> 1) + (value < 0)
    return (value >> exponent) + (remainder > threshold)
