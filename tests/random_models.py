"""Random integer models whose outputs lie mostly inside the clamps, so that comparing them means something."""

from __future__ import annotations

import dataclasses

import numpy as np

from convert.integer_model import (
    IMAGE_INPUT,
    IntegerModel,
    Quantization,
    QuantizedConv,
    QuantizedFullyConnected,
)
from convert.reference import accumulate, average_pool, convolve, quantize_images


def random_images(rng: np.random.Generator, count: int, hwc: tuple[int, int, int]) -> np.ndarray:
    """uint8 (N, H, W, C) images with smooth structure and noise."""
    height, width, channels = hwc
    base = rng.integers(0, 256, (count, 1, 1, channels))
    noise = rng.integers(-120, 121, (count, height, width, channels))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def random_codebook(rng: np.random.Generator, bit_width: int, *, entries: int | None = None) -> np.ndarray:
    """Sorted int8 entries with zero among them."""
    size = entries or 2**bit_width
    pool = np.setdiff1d(np.arange(-127, 128), [0])
    chosen = rng.choice(pool, min(size, 255) - 1, replace=False)
    return np.sort(np.append(chosen, 0)).astype(np.int8)


def random_model(
    seed: int,
    *,
    input_hwc: tuple[int, int, int] = (8, 8, 1),
    widths: tuple[int, ...] = (8, 8, 16, 16, 32),
    strides: tuple[int, ...] = (1, 1, 2, 1, 2),
    bit_widths: tuple[int, ...] = (8, 4, 3, 2, 5),
    activation_bits: int = 8,
    per_channel: bool = True,
    classes: int = 10,
) -> IntegerModel:
    """A chain of random layers, scales set from its own accumulators on random images."""
    rng = np.random.default_rng(seed)
    value = quantize_images(random_images(rng, 16, input_hwc))
    quantization, channels, convs = IMAGE_INPUT, input_hwc[2], []
    for number, (width, stride, bits) in enumerate(zip(widths, strides, bit_widths, strict=True)):
        conv = _random_conv(
            rng, f"conv{number}", quantization, channels, width, stride, bits, activation_bits, per_channel, value
        )
        value, quantization, channels = convolve(conv, value), conv.output, width
        convs.append(conv)
    pooled = average_pool(value)
    classifier = _random_classifier(rng, quantization, channels, classes, pooled)
    return IntegerModel(input_hwc, tuple(convs), classifier, tuple(f"class{k}" for k in range(classes)))


def _random_conv(
    rng: np.random.Generator,
    name: str,
    quantization: Quantization,
    channels: int,
    width: int,
    stride: int,
    bits: int,
    activation_bits: int,
    per_channel: bool,
    value: np.ndarray,
) -> QuantizedConv:
    codebook = random_codebook(rng, bits)
    indices = rng.integers(0, codebook.size, (width, 3, 3, channels), dtype=np.uint8)
    scale = (0.01 * rng.uniform(0.5, 2.0, width if per_channel else 1)).astype(np.float32)
    probe = QuantizedConv(
        name,
        stride,
        quantization,
        Quantization(np.float32(1.0), -128),
        activation_bits,
        bits,
        codebook,
        indices,
        scale,
        np.zeros(width, np.int32),
    )
    accumulators = accumulate(probe, value)
    spread = accumulators.std(axis=(0, 1, 2)) + 1
    bias = rng.normal(0.2, 0.5, width) * spread - accumulators.mean(axis=(0, 1, 2))
    real = np.abs((accumulators + bias) * scale.astype(np.float64) * float(quantization.scale))
    # the 98th percentile at the top level keeps most outputs strictly inside the clamps
    output_scale = (
        np.float32(6.0 / (2**activation_bits - 1)) if activation_bits < 8 else np.float32(np.percentile(real, 98) / 255)
    )
    if activation_bits < 8:
        scale = (scale * 6.0 / np.percentile(real, 98)).astype(np.float32)
    return QuantizedConv(
        name,
        stride,
        quantization,
        Quantization(output_scale, -128),
        activation_bits,
        bits,
        codebook,
        indices,
        scale,
        bias.astype(np.int32),
    )


def _random_classifier(
    rng: np.random.Generator, quantization: Quantization, channels: int, classes: int, pooled: np.ndarray
) -> QuantizedFullyConnected:
    codebook = random_codebook(rng, 8)
    indices = rng.integers(0, codebook.size, (classes, channels), dtype=np.uint8)
    total = (pooled.astype(np.float64) - quantization.zero_point) @ codebook[indices].astype(np.float64).T
    bias = (-total.mean(axis=0)).astype(np.int32)
    real = (total + bias) * 0.01 * float(quantization.scale)
    output = Quantization(np.float32(np.abs(real).max() / 140), 3)
    return QuantizedFullyConnected(
        "classifier", quantization, output, 8, codebook, indices, np.array([0.01], np.float32), bias
    )


def model_on_int4_grid(seed: int, *, layers: tuple[str, ...]) -> IntegerModel:
    """A random model in which the named convolutions' codebooks lie on the int4 grid, -8 to 7."""
    model = random_model(seed)
    convs = []
    for conv in model.convs:
        if conv.name in layers:
            codebook = np.clip(conv.codebook // 16, -8, 7).astype(np.int8)
            conv = dataclasses.replace(conv, codebook=codebook, weight_scale=conv.weight_scale * np.float32(16))
        convs.append(conv)
    return dataclasses.replace(model, convs=tuple(convs))
