"""Random convolutions for benchmarks and tests of kernels, with at least half of their outputs strictly inside the clamps."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from numpy.typing import NDArray

from convert import reference
from convert.integer_model import Quantization, QuantizedConv

PEER_LAYERS = (
    "32x32x3-16s1",
    "32x32x16-16s1",
    "32x32x16-32s2",
    "16x16x32-32s1",
    "16x16x32-64s2",
    "8x8x64-64s1",
    "8x8x64-128s2",
    "4x4x128-128s1",
)


def parse_layer(name: str) -> tuple[int, int, int, int, int]:
    """(height, width, input channels, output channels, stride) of `<H>x<W>x<C_in>-<C_out>s<stride>`.

    >>> parse_layer("32x32x16-32s2")
    (32, 32, 16, 32, 2)
    """
    height, width, in_channels, out_channels, stride = map(int, re.split("[xs-]", name))
    return height, width, in_channels, out_channels, stride


def random_layer(
    rng: np.random.Generator,
    sizes: tuple[int, int, int, int, int],
    bit_width: int,
    *,
    zero_points: tuple[int, int] = (-128, -128),
    activation_bits: int = 8,
    extreme: bool = False,
    ties: bool = False,
    one_scale: bool = False,
) -> tuple[QuantizedConv, NDArray[np.int8]]:
    """A convolution of `parse_layer`'s sizes and an input.

    `extreme`: weights and inputs are the ends of their ranges; `ties`: the multiplier is a power of two, so that many
    results lie halfway between two integers; `one_scale`: a single weight scale instead of one per output channel.
    """
    height, width, in_channels, out_channels, stride = sizes
    codebook = _codebook(rng, bit_width, extreme)
    indices = rng.integers(0, codebook.size, (out_channels, 3, 3, in_channels), dtype=np.uint8)
    value = _extreme_input(rng, (height, width, in_channels)) if extreme else _input(rng, (height, width, in_channels))
    scale = np.full(out_channels, 2.0**-7) if ties else rng.uniform(0.005, 0.02, out_channels)
    given = Quantization(np.float32(2.0**-6), zero_points[0])
    probe = QuantizedConv(
        f"{height}x{width}x{in_channels}-{out_channels}s{stride}",
        stride,
        given,
        Quantization(np.float32(1), zero_points[1]),
        activation_bits,
        bit_width,
        codebook,
        indices,
        scale[: 1 if one_scale else None].astype(np.float32),
        np.zeros(out_channels, np.int32),
    )
    return _centred(probe, value, ties), value


def inside_share(conv: QuantizedConv, output: NDArray[np.int8], clamp: tuple[int, int] | None = None) -> float:
    """Share of outputs strictly inside the clamps."""
    low, high = clamp or (conv.clamp_min, conv.clamp_max)
    return float(np.mean((output > low) & (output < high)))


def _codebook(rng: np.random.Generator, bit_width: int, extreme: bool) -> NDArray[np.int8]:
    if extreme:
        return np.array([-127, 127], np.int8)
    pool = np.setdiff1d(np.arange(-127, 128), [0])
    chosen = rng.choice(pool, min(2**bit_width, 255) - 1, replace=False)
    return np.sort(np.append(chosen, 0)).astype(np.int8)


def _input(rng: np.random.Generator, hwc: tuple[int, int, int]) -> NDArray[np.int8]:
    return rng.integers(-128, 128, hwc).astype(np.int8)


def _extreme_input(rng: np.random.Generator, hwc: tuple[int, int, int]) -> NDArray[np.int8]:
    """-128 and 127 as a checkerboard, columns, blocks or noise."""
    y, x, c = np.indices(hwc)
    patterns = ((y + x) % 2, x % 2, (y + x + c) % 2, (x // 3 + y // 2) % 2, rng.integers(0, 2, hwc))
    return np.where(patterns[rng.integers(len(patterns))] == 1, 127, -128).astype(np.int8)


def _centred(conv: QuantizedConv, value: NDArray[np.int8], ties: bool) -> QuantizedConv:
    """The layer with bias and output scale that put most of its outputs between the clamps."""
    sums = reference.accumulate(conv, value[None])[0].reshape(-1, conv.bias.size).astype(np.float64)
    spread = max(float(sums.std()), 8.0 * float(np.abs(conv.codebook).max()))
    bias = np.round(1.5 * spread - sums.mean(axis=0)).astype(np.int32)
    levels = conv.clamp_max - conv.clamp_min
    scale = float(conv.input.scale) * float(conv.weight_scale.max()) * 3.0 * spread / levels
    output = Quantization(np.float32(2.0 ** np.ceil(np.log2(scale)) if ties else scale), conv.output.zero_point)
    return dataclasses.replace(conv, bias=bias, output=output)
