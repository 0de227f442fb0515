"""Every convolution kernel of every core, under emulation, against the reference: random shapes, extremes, ties."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernel_cases import inside_share, random_layer
from convert import reference, requantize
from convert.kernels import KERNELS, kernel_choice
from deploy.kernel_runner import KernelCase, build_kernel_runner, conv_shape, run_kernels
from tests.firmware_stub.conftest import need

CORES = sorted({core for kernel in KERNELS for core in kernel.cores})
SHAPES = {"cortex-m4": 520, "cortex-m7": 520, "cortex-m33": 520, "cortex-m55": 520}
CHANNELS_IN = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 20, 32, 36, 48)


@pytest.fixture(scope="module", params=CORES)
def runner(request, tmp_path_factory):
    """The kernel runner of a core that has kernels of its own."""
    need("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    need("qemu-system-arm", "qemu-system-arm")
    return build_kernel_runner(request.param, tmp_path_factory.mktemp(request.param))


def _random_case(rng, kernels, extreme=False):
    """A random layer with one of the kernels that take it; None where none does."""
    sizes = tuple(int(rng.integers(1, 14)) for _ in range(2))
    sizes += (int(rng.choice(CHANNELS_IN)), int(rng.integers(1, 22)), int(rng.integers(1, 3)))
    zero_points = (int(rng.integers(-128, 128)), -128 if rng.random() < 0.5 else int(rng.integers(-128, 40)))
    conv, value = random_layer(
        rng,
        sizes,
        int(rng.integers(2, 9)),
        zero_points=zero_points,
        activation_bits=8 if rng.random() < 0.6 else int(rng.integers(4, 9)),
        extreme=extreme,
        ties=rng.random() < 0.3,
    )
    shape = conv_shape(conv, *value.shape[:2])
    able = [kernel for kernel in kernels if kernel.obstacle(conv, shape) is None]
    if not able:
        return None
    kernel = able[int(rng.integers(len(able)))]
    clamp = None
    if rng.random() < 0.3 and conv.requantization[1].max() < 0:  # as a layer without ReLU
        clamp = (max(-128, conv.clamp_min - 40), conv.clamp_max)
    strip = int(rng.choice(kernel.strip_choices(conv, shape)))
    return KernelCase(conv, kernel_choice(kernel, conv, shape, strip), value, clamp)


def _expected(case):
    """The reference's output, with the case's own clamp."""
    conv = case.conv
    sums = reference.accumulate(conv, case.value[None])[0]
    low, high = case.clamp or (conv.clamp_min, conv.clamp_max)
    scaled = requantize.requantize(sums, *conv.requantization) + conv.output.zero_point
    return np.clip(scaled, low, high).astype(np.int8)


def _cases(runner, count, extreme=False):
    rng = np.random.default_rng([SHAPES[runner.target.core], extreme])
    kernels = [kernel for kernel in KERNELS if runner.target.core in kernel.cores]
    cases = []
    while len(cases) < count:
        case = _random_case(rng, kernels, extreme)
        if case is not None:
            cases.append(case)
    return cases, kernels


def _mismatches(runner, cases, folder):
    outputs, _ = run_kernels(runner, cases, folder)
    return [
        (case.choice.kernel.name, case.conv.name, case.conv.bit_width, case.choice.strip_channels, case.clamp)
        for case, output in zip(cases, outputs, strict=True)
        if not np.array_equal(output, _expected(case))
    ]


def test_kernels_equal_the_reference_on_random_layers(runner, tmp_path):
    cases, kernels = _cases(runner, SHAPES[runner.target.core])
    assert _mismatches(runner, cases, tmp_path) == []
    assert {case.choice.kernel.constant for case in cases} == {kernel.constant for kernel in kernels}
    # not a comparison of clamped values only
    shares = [inside_share(case.conv, _expected(case), case.clamp) for case in cases]
    assert np.median(shares) > 0.7
    assert np.mean(np.array(shares) >= 0.5) > 0.9


def test_kernels_equal_the_reference_on_extreme_weights_and_inputs(runner, tmp_path):
    cases, _ = _cases(runner, 60, extreme=True)
    assert _mismatches(runner, cases, tmp_path) == []


def test_reference_with_own_clamp_is_the_reference():
    rng = np.random.default_rng(3)
    conv, value = random_layer(rng, (5, 6, 4, 8, 1), 4)
    kernel = KERNELS[0]
    choice = kernel_choice(kernel, conv, conv_shape(conv, 5, 6), 4)
    assert np.array_equal(_expected(KernelCase(conv, choice, value)), reference.convolve(conv, value[None])[0])
