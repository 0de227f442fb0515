"""Every convolution kernel of every core, under emulation, against the reference: random shapes, extremes, ties."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernel_cases import inside_share
from benchmarks.random_cases import expected, random_case, random_fully_connected, random_pool
from convert.kernels import KERNELS
from deploy.kernel_runner import build_kernel_runner, run_kernels
from tests.need import need

CORES = sorted({core for kernel in KERNELS for core in kernel.cores})
SHAPES = {"cortex-m4": 520, "cortex-m7": 520, "cortex-m33": 520, "cortex-m55": 520}


@pytest.fixture(scope="module", params=CORES)
def runner(request, tmp_path_factory):
    """The kernel runner of a core that has kernels of its own."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    return build_kernel_runner(request.param, tmp_path_factory.mktemp(request.param))


def _cases(runner, count, extreme=False):
    rng = np.random.default_rng([SHAPES[runner.target.core], extreme])
    kernels = [kernel for kernel in KERNELS if runner.target.core in kernel.cores]
    cases = [random_case(rng, kernels, extreme=extreme) for _ in range(count)]
    return cases, kernels


def _mismatches(runner, cases, folder):
    outputs, _ = run_kernels(runner, cases, folder)
    return [
        (case.choice.kernel.name, case.conv.name, case.conv.bit_width, case.choice.strip_channels, case.clamp)
        for case, output in zip(cases, outputs, strict=True)
        if not np.array_equal(output, expected(case))
    ]


def test_kernels_equal_the_reference_on_random_layers(runner, tmp_path):
    cases, kernels = _cases(runner, SHAPES[runner.target.core])
    assert _mismatches(runner, cases, tmp_path) == []
    assert {case.choice.kernel.constant for case in cases} == {kernel.constant for kernel in kernels}
    # not a comparison of clamped values only
    shares = [inside_share(case.conv, expected(case), case.clamp) for case in cases]
    assert np.median(shares) > 0.7
    assert np.mean(np.array(shares) >= 0.5) > 0.9


def test_kernels_equal_the_reference_on_extreme_weights_and_inputs(runner, tmp_path):
    cases, _ = _cases(runner, 60, extreme=True)
    assert _mismatches(runner, cases, tmp_path) == []


def test_pool_and_classifier_equal_the_reference(runner, tmp_path):
    rng = np.random.default_rng(6)
    cases = [random_pool(rng, extreme=k % 10 == 0) for k in range(60)]
    cases += [random_fully_connected(rng, extreme=k % 10 == 0) for k in range(60)]
    outputs = runner.run(cases, tmp_path)
    assert all(np.array_equal(output, expected(case)) for output, case in zip(outputs, cases, strict=True))
