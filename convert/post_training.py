"""Choices of post-training quantization: the top of every activation range, and the levels of every weight tensor.

Activation ranges start at 0 (after ReLU); `min_max` ends at the largest value seen, `percentile` below the rarest
large ones, `mse` where the squared error of the 2^b levels over the seen values is least (100 ends are tried). The
last two read a histogram of BINS bins over [0, largest value] per layer, so that memory does not grow with the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.cluster import nearest_indices, optimal_codebook
from convert.float_network import FloatNetwork, convolve
from train.config import PostTrainingConfig

BINS = 4096
CANDIDATES = np.linspace(0.01, 1.0, 100)
GRID_MAX = 127
SMALLEST_RANGE = 1e-6
BATCH = 64

Float64 = NDArray[np.float64]


def activation_tops(
    merged: FloatNetwork, images: NDArray[np.uint8], config: PostTrainingConfig, *, bit_width: int
) -> tuple[list[float], Float64]:
    """(top of each convolution's output range, logits (N, classes)) over uint8 images (N, H, W, C)."""
    peaks, logits = _peaks(merged, images)
    if config.activations == "min_max":
        return peaks, logits
    histograms = _histograms(merged, images, peaks)
    if config.activations == "percentile":
        return [percentile_top(h, peak, config.percentile) for h, peak in zip(histograms, peaks, strict=True)], logits
    return [least_squares_top(h, peak, bit_width) for h, peak in zip(histograms, peaks, strict=True)], logits


def _peaks(merged: FloatNetwork, images: NDArray[np.uint8]) -> tuple[list[float], Float64]:
    """(largest activation of each convolution, logits)."""
    peaks, logits = [0.0] * len(merged.convs), []
    for start in range(0, len(images), BATCH):
        value = images[start : start + BATCH].astype(np.float64) / 255
        for number, conv in enumerate(merged.convs):
            value = np.maximum(convolve(value, conv.weight_oihw, conv.stride) + conv.bias, 0)
            peaks[number] = max(peaks[number], float(value.max()))
        logits.append(value.mean(axis=(1, 2)) @ merged.classifier_weight.T + merged.classifier_bias)
    return peaks, np.concatenate(logits)


def _histograms(merged: FloatNetwork, images: NDArray[np.uint8], peaks: list[float]) -> list[NDArray[np.int64]]:
    """Counts (BINS,) of each convolution's outputs over [0, peak]."""
    counts = [np.zeros(BINS, np.int64) for _ in peaks]
    for start in range(0, len(images), BATCH):
        value = images[start : start + BATCH].astype(np.float64) / 255
        for number, conv in enumerate(merged.convs):
            value = np.maximum(convolve(value, conv.weight_oihw, conv.stride) + conv.bias, 0)
            counts[number] += np.histogram(value[value > 0], BINS, (0, max(peaks[number], SMALLEST_RANGE)))[0]
    return counts


def percentile_top(counts: NDArray[np.int64], peak: float, percentile: float) -> float:
    """The value below which `percentile` % of the positive activations lie; the upper edge of its bin.

    >>> percentile_top(np.array([90, 9, 0, 1]), 4.0, 99.0)
    2.0
    """
    total = counts.sum()
    if total == 0:
        return peak
    position = int(np.searchsorted(counts.cumsum(), total * percentile / 100))
    return peak * (min(position, len(counts) - 1) + 1) / len(counts)


def least_squares_top(counts: NDArray[np.int64], peak: float, bit_width: int) -> float:
    """The top of 2^bit_width levels from 0 with the least squared error over a histogram on [0, peak]."""
    centres = (np.arange(len(counts)) + 0.5) * peak / len(counts)
    highest = 2**bit_width - 1
    errors = []
    for top in CANDIDATES * peak:
        step = max(top, SMALLEST_RANGE) / highest
        rounded = np.clip(np.floor(centres / step + 0.5), 0, highest) * step
        errors.append(float(counts @ np.square(rounded - centres)))
    return float(CANDIDATES[int(np.argmin(errors))] * peak)


@dataclass(frozen=True)
class WeightLevels:
    """codebook (K,) int8, indices like the weight, scale (1,) or (O,) float32: weight ≈ codebook[indices] · scale."""

    codebook: NDArray[np.int8]
    indices: NDArray[np.uint8]
    scale: NDArray[np.float32]


def weight_levels(
    weight: Float64, bits: int, config: PostTrainingConfig, *, per_channel: bool, max_entries: int = 255
) -> WeightLevels:
    """Levels of one tensor, output channel first.

    `kmeans`: scale max|W| / 127 and the optimal 2^bits entries of the int8 grid, at most `max_entries`. `uniform`: the levels
    −(2^(bits−1)−1) … 2^(bits−1)−1 times max|W| / (2^(bits−1)−1). `uniform_mse`: the same levels, the step of least
    squared error out of 100 (per channel where scales are).
    """
    rows = weight.reshape(weight.shape[0] if per_channel else 1, -1)
    largest = np.maximum(np.abs(rows).max(axis=1), 1e-12)
    if config.weights == "kmeans":
        scale = (largest / GRID_MAX).astype(np.float32)
        codebook = optimal_codebook(_in_steps(weight, scale), min(2**bits, max_entries))
    else:
        highest = 2 ** (bits - 1) - 1
        shares = _least_squares_shares(rows, largest, highest) if config.weights == "uniform_mse" else 1.0
        scale = (shares * largest / highest).astype(np.float32)
        codebook = np.arange(-highest, highest + 1).astype(np.int8)
    indices = nearest_indices(_in_steps(weight, scale), codebook)
    return WeightLevels(codebook, np.ascontiguousarray(indices), scale)


def _in_steps(weight: Float64, scale: NDArray[np.float32]) -> Float64:
    steps: Float64 = weight / scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    return steps


def _least_squares_shares(rows: Float64, largest: Float64, highest: int) -> Float64:
    """The share of max|W| (R,) that the top level of each row should have."""
    errors = []
    for share in CANDIDATES:
        step = (share * largest / highest)[:, None]
        errors.append(np.square(np.clip(np.rint(rows / step), -highest, highest) * step - rows).sum(axis=1))
    best: Float64 = CANDIDATES[np.argmin(errors, axis=0)]
    return best
