"""The Winograd kernels' assembly under emulation: arbitrary scratch, weights that add up in the transforms, any clamps.

test_core_kernels.py runs them on every core that has them, with the strips and scratch of the planner; test_host_kernels.py
runs the algorithm in plain C.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.kernel_cases import random_layer
from benchmarks.random_cases import expected, extreme_winograd_case, mean_inside_share, winograd_case
from convert.kernels import conv_choices
from convert.kernels_winograd import WINOGRAD_KERNELS
from deploy.kernel_runner import KernelCase, build_kernel_runner, conv_shape, run_kernels
from tests.need import need
from train.errors import ToolFailed

KERNELS = [kernel for kernel in WINOGRAD_KERNELS if kernel.name in ("dsp_winograd2", "dsp_winograd4")]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    need("arm-none-eabi-gcc", "qemu-system-arm")
    return build_kernel_runner("cortex-m4", tmp_path_factory.mktemp("build"))


def test_winograd_equals_the_reference_under_emulation(runner, tmp_path):
    rng = np.random.default_rng(12)
    cases = [winograd_case(rng, KERNELS[k % 2]) for k in range(500)]
    cases += [extreme_winograd_case(rng, KERNELS[k % 2]) for k in range(50)]
    outputs, _ = run_kernels(runner, cases, tmp_path / "run")
    assert all(np.array_equal(output, expected(case)) for output, case in zip(outputs, cases, strict=True))
    assert mean_inside_share(cases) > 0.5


def test_too_small_a_scratch_is_refused_by_every_kernel_of_the_core(runner, tmp_path):
    conv, value = random_layer(np.random.default_rng(4), (8, 8, 8, 8, 1), 4)
    choices = conv_choices(conv, conv_shape(conv, 8, 8), "cortex-m4")
    functions = {choice.kernel.function for choice in choices}
    assert len(functions) == 5
    for function in sorted(functions):
        own = [choice for choice in choices if choice.kernel.function == function]
        choice = min(own, key=lambda choice: choice.scratch_bytes)
        small = dataclasses.replace(choice, scratch_bytes=choice.scratch_bytes - 1)
        with pytest.raises(ToolFailed, match="status 45"):
            runner.run([KernelCase(conv, small, value)], tmp_path)
