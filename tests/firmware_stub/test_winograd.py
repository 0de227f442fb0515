"""Winograd kernels against the numpy reference: the algorithm in plain C on the host, the assembly under emulation.

test_core_kernels.py runs them on every core that has them, with the strips and scratch of the planner; here scratch is
arbitrary, weights add up in the transforms, and clamps may lie anywhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from deploy.kernel_runner import build_kernel_runner, run_kernels
from tests.firmware_stub.conftest import need
from tests.firmware_stub.winograd_cases import (
    SANITIZERS,
    build_host_driver,
    expected,
    extreme_case,
    kernel_named,
    mean_inside_share,
    random_case,
)

CHANNELS = (4, 8, 12, 16, 20)
SIDE = 13


def _cases(seed, random, extreme):
    rng = np.random.default_rng(seed)
    kernels = [kernel_named("dsp_winograd2"), kernel_named("dsp_winograd4")]
    cases = [random_case(rng, kernels[k % 2], CHANNELS, SIDE) for k in range(random)]
    return cases + [extreme_case(rng, kernels[k % 2], (*CHANNELS, 32, 48), 9) for k in range(extreme)]


def _wanted(cases):
    return np.concatenate([expected(case).reshape(-1) for case in cases])


@pytest.mark.parametrize("flags", [(), SANITIZERS], ids=["plain", "sanitized"])
def test_winograd_equals_the_reference_on_the_host(tmp_path, flags):
    need("gcc", "gcc")
    run = build_host_driver(tmp_path, flags)
    cases = _cases(11, 1000, 60)
    assert np.array_equal(run(cases), _wanted(cases))
    assert mean_inside_share(cases) > 0.5  # not a comparison of clamped values only


def test_winograd_equals_the_reference_under_emulation(tmp_path):
    need("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    need("qemu-system-arm", "qemu-system-arm")
    runner = build_kernel_runner("cortex-m4", tmp_path / "build")
    cases = _cases(12, 500, 50)
    outputs, _ = run_kernels(runner, cases, tmp_path / "run")
    assert np.array_equal(np.concatenate([output.reshape(-1) for output in outputs]), _wanted(cases))
    assert mean_inside_share(cases) > 0.5
