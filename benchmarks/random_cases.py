"""Random and extreme layers for kernels, with what the reference says of them; for `kernel_shapes` and for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_cases import inside_share, random_layer
from convert import reference
from convert.integer_model import Quantization, QuantizedConv, QuantizedFullyConnected
from convert.kernel import ConvKernel, KernelChoice
from convert.kernels import kernel_choice
from convert.requantize import requantize
from deploy.kernel_runner import Case, KernelCase, LayerCase, conv_shape

CHANNELS_IN = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 20, 32, 36, 48)
WINOGRAD_CHANNELS = (4, 8, 12, 16, 20)
LARGEST_SIDE = 13


def expected(case: Case) -> NDArray[np.int8]:
    """What the numpy reference gives, (H, W, O), with the case's clamps."""
    if isinstance(case, LayerCase):
        if case.layer is None:
            return reference.average_pool(case.value[None]).reshape(case.output_hwc)
        return reference.fully_connected(case.layer, case.value[0]).reshape(case.output_hwc)
    conv = case.conv
    levels = requantize(reference.accumulate(conv, case.value[None])[0], *conv.requantization)
    clamp = case.clamp or (conv.clamp_min, conv.clamp_max)
    return np.clip(levels + conv.output.zero_point, *clamp).astype(np.int8)


def mean_inside_share(cases: Sequence[KernelCase]) -> float:
    """Share of outputs strictly inside their clamps, mean over all cases."""
    return float(np.mean([inside_share(case.conv, expected(case), case.clamp) for case in cases]))


def random_case(rng: np.random.Generator, kernels: Sequence[ConvKernel], *, extreme: bool = False) -> KernelCase:
    """A random layer with one of the kernels that take it, and any of its strips."""
    while True:
        conv, value = _random_layer(rng, extreme)
        shape = conv_shape(conv, *value.shape[:2])
        able = [kernel for kernel in kernels if kernel.obstacle(conv, shape) is None]
        if able:
            break
    kernel = able[int(rng.integers(len(able)))]
    clamp = None
    if rng.random() < 0.3 and conv.requantization[1].max() < 0:  # as a layer without ReLU
        clamp = (max(-128, conv.clamp_min - 40), conv.clamp_max)
    strip = int(rng.choice(kernel.strip_choices(conv, shape)))
    return KernelCase(conv, kernel_choice(kernel, conv, shape, strip), value, clamp)


def _random_layer(rng: np.random.Generator, extreme: bool) -> tuple[QuantizedConv, NDArray[np.int8]]:
    height, width = (int(rng.integers(1, LARGEST_SIDE + 1)) for _ in range(2))
    sizes = (height, width, int(rng.choice(CHANNELS_IN)), int(rng.integers(1, 22)), int(rng.integers(1, 3)))
    zero_points = (int(rng.integers(-128, 128)), -128 if rng.random() < 0.5 else int(rng.integers(-128, 40)))
    return random_layer(
        rng,
        sizes,
        int(rng.integers(2, 9)),
        zero_points=zero_points,
        activation_bits=8 if rng.random() < 0.6 else int(rng.integers(4, 9)),
        extreme=extreme,
        ties=rng.random() < 0.3,
        one_scale=rng.random() < 0.5,
    )


def winograd_case(
    rng: np.random.Generator,
    kernel: ConvKernel,
    channels: Sequence[int] = WINOGRAD_CHANNELS,
    largest_side: int = LARGEST_SIDE,
) -> KernelCase:
    """Any shape, zero points, bit width, clamps, strip and scratch that the Winograd kernel takes."""
    side = (int(rng.integers(1, largest_side + 1)), int(rng.integers(1, largest_side + 1)))
    sizes = (*side, int(rng.choice(channels)), int(rng.choice(channels)), 1)
    given = int(rng.choice([-128, 127, int(rng.integers(-128, 128))]))
    output = int(rng.choice([-128, int(rng.integers(-128, 100))]))
    bits = int(rng.choice([8, 8, int(rng.integers(4, 8))]))
    width, one_scale, points = int(rng.integers(2, 9)), rng.random() < 0.5, (given, output)
    conv, value = random_layer(rng, sizes, width, zero_points=points, activation_bits=bits, one_scale=one_scale)
    without_relu = [(-128, 127), (max(-128, output - 90), min(127, output + 90))]
    clamp = without_relu[int(rng.integers(2))] if rng.random() < 0.3 else None
    if clamp and rng.random() < 0.5:  # negative accumulators too
        conv = dataclasses.replace(conv, bias=(conv.bias // 4).astype(np.int32))
    return KernelCase(conv, _with_any_room(rng, kernel, conv, value), value, clamp)


def extreme_winograd_case(
    rng: np.random.Generator,
    kernel: ConvKernel,
    channels: Sequence[int] = (*WINOGRAD_CHANNELS, 32, 48),
    largest_side: int = 9,
) -> KernelCase:
    """Inputs −128 and 127 in patterns, weights −127 and 127 in patterns that add up in the transforms."""
    sizes = (int(rng.integers(3, largest_side + 1)), int(rng.integers(3, largest_side + 1)))
    widths = (int(rng.choice(channels)), int(rng.choice(channels)))
    zero_point = int(rng.choice([-128, 0, 127]))
    conv, value = random_layer(rng, (*sizes, *widths, 1), 2, zero_points=(zero_point, -128), extreme=True)
    out, ky, kx, _ = np.indices(conv.indices.shape)
    patterns = ((ky + kx) % 2, ky % 2, kx % 2, np.zeros_like(ky), (ky + kx + out) % 2, rng.integers(0, 2, ky.shape))
    indices = patterns[int(rng.integers(len(patterns)))].astype(np.uint8)
    probe = dataclasses.replace(conv, indices=indices, bias=0 * conv.bias)
    sums = reference.accumulate(probe, value[None]).reshape(-1, widths[1])
    middle, spread = sums.mean(axis=0), max(float(sums.std(axis=0).max()), 1000.0)
    scale = np.float32(0.02 * float(conv.weight_scale.max()) * 4 * spread / 255)
    bias = np.round(2 * spread - middle).astype(np.int32)
    conv = dataclasses.replace(conv, indices=indices, bias=bias, output=dataclasses.replace(conv.output, scale=scale))
    return KernelCase(conv, _with_any_room(rng, kernel, conv, value), value)


def _with_any_room(
    rng: np.random.Generator, kernel: ConvKernel, conv: QuantizedConv, value: NDArray[np.int8]
) -> KernelChoice:
    """Any strip, and room for a few pairs of tiles more than there must be."""
    shape = conv_shape(conv, *value.shape[:2])
    if obstacle := kernel.obstacle(conv, shape):
        raise ValueError(f"{kernel.name}: {obstacle}; give it a layer that it takes")
    choice = kernel_choice(kernel, conv, shape, int(rng.choice(kernel.strip_choices(conv, shape))))
    positions = 36 if "winograd4" in kernel.name else 16
    more = int(rng.integers(0, 5)) * 4 * positions * shape.input_hwc[2]
    return dataclasses.replace(choice, scratch_bytes=choice.scratch_bytes + more)


def random_pool(rng: np.random.Generator, *, extreme: bool = False) -> LayerCase:
    """Global average pooling of any size."""
    sizes = tuple(int(rng.integers(1, high)) for high in (10, 10, 70))
    ends = np.array([-128, 127], np.int8)
    value = rng.choice(ends, sizes) if extreme else rng.integers(-128, 128, sizes).astype(np.int8)
    return LayerCase(None, value)


def random_fully_connected(rng: np.random.Generator, *, extreme: bool = False) -> LayerCase:
    """A classifier of any size, bit width and zero points, one scale or one per class."""
    channels, classes, bit_width = int(rng.integers(1, 130)), int(rng.integers(2, 24)), int(rng.integers(2, 9))
    pool = np.setdiff1d(np.arange(-127, 128), [0])
    entries = rng.choice(pool, min(2**bit_width, 255) - 1, replace=False)
    codebook = np.array([-127, 127]) if extreme else np.sort(np.append(entries, 0))
    layer = QuantizedFullyConnected(
        "classifier",
        Quantization(np.float32(0.02), int(rng.integers(-128, 128))),
        Quantization(np.float32(0.02 * 0.01 * 80 * np.sqrt(channels)), int(rng.integers(-60, 60))),
        bit_width,
        codebook.astype(np.int8),
        rng.integers(0, codebook.size, (classes, channels), dtype=np.uint8),
        rng.uniform(0.005, 0.02, classes if rng.random() < 0.5 else 1).astype(np.float32),
        rng.integers(-3000, 3000, classes).astype(np.int32),
    )
    ends = np.array([-128, 127], np.int8)
    value = rng.choice(ends, channels) if extreme else rng.integers(-128, 128, channels).astype(np.int8)
    return LayerCase(layer, value.reshape(1, 1, channels))
