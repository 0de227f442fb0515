"""What only the Cortex-M55's convolutions take: shifts to the left, any strip, many input channels, halves; their cost.

The shapes common to all cores are in test_core_kernels.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.kernel_cases import inside_share, random_layer
from benchmarks.random_cases import expected
from convert import reference
from convert.integer_model import Quantization
from convert.kernels import kernel_choice
from convert.kernels_mve import MVE_DIRECT, MVE_FIRST
from deploy.kernel_runner import KernelCase, build_kernel_runner, conv_shape, run_kernels
from tests.need import need
from train.errors import ToolFailed

SIDES = (1, 2, 3, 4, 5, 7, 8, 9, 13)
CHANNELS_IN = {MVE_DIRECT: (1, 2, 3, 5, 8, 15, 16, 16, 17, 24, 32, 33, 48, 64), MVE_FIRST: (1, 3)}
CHANNELS_OUT = (1, 2, 3, 4, 7, 8, 12, 18)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    need("arm-none-eabi-gcc", "qemu-system-arm")
    return build_kernel_runner("cortex-m55", tmp_path_factory.mktemp("runner"))


def _random_case(rng, kernel, number):
    """Every second layer takes the short requantization; the others have any zero points, clamps and shifts."""
    plain = number % 4 < 2
    sizes = tuple(int(rng.choice(choices)) for choices in (SIDES, SIDES, CHANNELS_IN[kernel], CHANNELS_OUT))
    zero_points = (-128, -128) if plain else (int(rng.integers(-128, 128)), int(rng.integers(-128, 60)))
    conv, value = random_layer(
        rng,
        (*sizes, 1 + number % 2),
        2 + number // 2 % 7,
        zero_points=zero_points,
        activation_bits=8 if plain else int(rng.integers(2, 9)),
        extreme=number % 11 == 0,
    )
    if not plain and number % 3 == 0:
        conv = _with_larger_scales(rng, conv)
    clamp = (-128, 127) if not plain and number % 5 == 0 else None
    shape = conv_shape(conv, *value.shape[:2])
    strip = int(rng.choice((*kernel.strip_choices(conv, shape), 3)))
    return KernelCase(conv, kernel_choice(kernel, conv, shape, strip), value, clamp)


def _with_larger_scales(rng, conv):
    """Some channels requantized by a shift to the left; their accumulators are made small by a bias near the sum's mean."""
    factor = rng.choice([1, 64, 2**14], conv.bias.size).astype(np.float32)
    scale = np.broadcast_to(conv.weight_scale, conv.bias.shape) * factor
    return dataclasses.replace(conv, weight_scale=scale.astype(np.float32))


@pytest.mark.parametrize(("kernel", "count"), [(MVE_DIRECT, 200), (MVE_FIRST, 80)], ids=["direct", "first"])
def test_convolution_equals_the_reference(runner, tmp_path, kernel, count):
    rng = np.random.default_rng(21)
    cases = [_random_case(rng, kernel, number) for number in range(count)]
    wanted = [expected(case) for case in cases]
    outputs, _ = run_kernels(runner, cases, tmp_path)
    wrong = [k for k in range(count) if not np.array_equal(outputs[k], wanted[k])]
    assert wrong == []
    # not a comparison of clamped values only
    inside = [inside_share(c.conv, e, c.clamp) for c, e in zip(cases, wanted, strict=True)]
    assert np.mean(inside) > 0.5


@pytest.mark.parametrize("real_multiplier", [0.25, 0.375, 1.0, 1.5, 2.0])
def test_halves_of_negative_values_round_away_from_zero(runner, tmp_path, real_multiplier):
    """Small sums, so that halves are frequent; no layer with ReLU would show them."""
    rng = np.random.default_rng(5)
    conv, value = random_layer(rng, (8, 9, 1, 5, 1), 2, zero_points=(3, -2))
    conv = dataclasses.replace(
        conv,
        input=Quantization(np.float32(1), 3),
        output=Quantization(np.float32(1), -2),
        codebook=np.array([-1, 0, 1, 2], np.int8),
        weight_scale=np.array([real_multiplier], np.float32),
        bias=np.arange(-2, 3, dtype=np.int32),
    )
    value = (value.astype(np.int16) // 16 + 3).astype(np.int8)
    shape = conv_shape(conv, *value.shape[:2])
    cases = [KernelCase(conv, kernel_choice(k, conv, shape, 4), value, (-128, 127)) for k in (MVE_DIRECT, MVE_FIRST)]
    outputs, _ = run_kernels(runner, cases, tmp_path)
    wanted = expected(cases[0])
    assert inside_share(conv, wanted, (-128, 127)) > 0.9
    assert (wanted < -2).mean() > 0.2
    assert all(np.array_equal(output, wanted) for output in outputs)


def test_accumulators_at_the_ends_of_int32_wrap_as_in_the_reference(runner, tmp_path):
    conv, value = random_layer(np.random.default_rng(6), (5, 9, 3, 6, 1), 3)
    ends = np.array([2**31 - 1, -(2**31), 2**31 - 40_000, -(2**31) + 40_000, 2**30, -(2**30) - 1], np.int32)
    plain = dataclasses.replace(conv, bias=ends, output=Quantization(np.float32(2.0**12), -128))
    assert (np.abs(reference.accumulate(plain, value[None])) >= 2**31).any()
    shape = conv_shape(conv, *value.shape[:2])
    cases = [
        KernelCase(plain, kernel_choice(kernel, plain, shape, 4), value, clamp)
        for kernel in (MVE_DIRECT, MVE_FIRST)
        for clamp in (None, (-127, 127))
    ]
    outputs, _ = run_kernels(runner, cases, tmp_path)
    wanted = [expected(case) for case in cases]
    assert all(inside_share(case.conv, e, case.clamp) > 0.2 for case, e in zip(cases, wanted, strict=True))
    assert all(np.array_equal(output, e) for output, e in zip(outputs, wanted, strict=True))


def test_too_small_a_scratch_is_refused(runner, tmp_path):
    conv, value = random_layer(np.random.default_rng(3), (6, 11, 3, 6, 2), 5)
    shape = conv_shape(conv, *value.shape[:2])
    for kernel in (MVE_DIRECT, MVE_FIRST):
        choice = kernel_choice(kernel, conv, shape, 4)
        small = dataclasses.replace(choice, scratch_bytes=choice.scratch_bytes - 1)
        with pytest.raises(ToolFailed, match="status 45"):
            runner.run([KernelCase(conv, small, value)], tmp_path)


def test_scratch_is_as_large_as_planned_and_filled_to_the_end(runner, tmp_path):
    """The runner's guards catch an overrun; a strip larger than the layer's channels is legal too."""
    conv, value = random_layer(np.random.default_rng(3), (6, 11, 20, 6, 2), 5)
    shape = conv_shape(conv, *value.shape[:2])
    cases = [KernelCase(conv, kernel_choice(MVE_DIRECT, conv, shape, strip), value) for strip in (1, 2, 5, 6, 32)]
    outputs, _ = run_kernels(runner, cases, tmp_path)
    assert all(np.array_equal(output, reference.convolve(conv, value[None])[0]) for output in outputs)


def test_estimated_instructions_are_within_a_fifth_of_the_counted(runner, tmp_path):
    rng = np.random.default_rng(4)
    layers = [(16, 16, 3, 16, 1), (16, 16, 16, 16, 1), (16, 12, 32, 16, 2), (8, 8, 48, 8, 1), (9, 9, 20, 8, 1)]
    cases = []
    for number, sizes in enumerate(layers):
        conv, value = random_layer(rng, sizes, (4, 4, 3, 2, 5)[number])
        shape = conv_shape(conv, *value.shape[:2])
        cases.append(KernelCase(conv, kernel_choice(MVE_FIRST if number == 0 else MVE_DIRECT, conv, shape, 8), value))
    _, counted = run_kernels(runner, cases, tmp_path, count=True)
    ratios = [case.choice.instructions / instructions for case, instructions in zip(cases, counted, strict=True)]
    assert all(0.8 < ratio < 1.25 for ratio in ratios), ratios
