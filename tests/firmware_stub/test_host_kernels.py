"""The portable kernels and the Winograd algorithm in plain C against the reference, plainly and under sanitizers.

`make bench-kernel-shapes` does the same with ten thousand layers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.kernel_cases import inside_share, random_layer
from benchmarks.random_cases import (
    expected,
    extreme_winograd_case,
    mean_inside_share,
    random_case,
    random_fully_connected,
    random_pool,
    winograd_case,
)
from convert import reference, requantize
from convert.integer_model import Quantization, QuantizedFullyConnected
from convert.kernels import kernel_choice
from convert.kernels_portable import PORTABLE
from convert.kernels_winograd import WINOGRAD_KERNELS
from deploy.kernel_runner import KernelCase, LayerCase, conv_shape
from deploy.tool import run_tool
from tests.firmware_stub.conftest import SANITIZERS
from tests.firmware_stub.example_model import ROOT
from tests.need import need
from train.errors import ToolFailed

WINOGRAD = [kernel for kernel in WINOGRAD_KERNELS if kernel.name in ("dsp_winograd2", "dsp_winograd4")]
SMALL_SCRATCH = 40 + 5  # EXIT_REFUSED + REPEDGE_SMALL_SCRATCH


def _differing(run, cases):
    """Numbers of the cases whose outputs are not the reference's."""
    outputs = run(cases)
    return [k for k, case in enumerate(cases) if not np.array_equal(outputs[k], expected(case))]


def test_portable_convolution_equals_the_reference(run_on_host):
    rng = np.random.default_rng(7)
    cases = [random_case(rng, [PORTABLE], extreme=number % 10 == 0) for number in range(400)]
    assert _differing(run_on_host, cases) == []
    # not a comparison of clamped values only
    assert np.median([inside_share(case.conv, expected(case), case.clamp) for case in cases]) > 0.7
    assert {case.conv.bit_width for case in cases} == set(range(2, 9))


def test_winograd_equals_the_reference(run_on_host):
    rng = np.random.default_rng(11)
    cases = [winograd_case(rng, WINOGRAD[k % 2]) for k in range(1000)]
    cases += [extreme_winograd_case(rng, WINOGRAD[k % 2]) for k in range(60)]
    assert _differing(run_on_host, cases) == []
    assert mean_inside_share(cases) > 0.5


def test_fully_connected_equals_the_reference(run_on_host):
    rng = np.random.default_rng(8)
    assert _differing(run_on_host, [random_fully_connected(rng, extreme=k % 10 == 0) for k in range(150)]) == []


def test_average_pool_equals_the_reference_at_ties_too(run_on_host):
    rng = np.random.default_rng(9)
    ties = [np.array(pair, np.int8).reshape(2, 1, 1) for pair in ((0, 1), (0, -1), (127, 126), (-128, -127), (-3, 4))]
    cases = [random_pool(rng, extreme=k % 10 == 0) for k in range(100)] + [LayerCase(None, value) for value in ties]
    assert _differing(run_on_host, cases) == []


@pytest.mark.parametrize("kernel", [PORTABLE, *WINOGRAD], ids=lambda kernel: kernel.name)
def test_too_small_a_scratch_is_refused(run_on_host, kernel):
    conv, value = random_layer(np.random.default_rng(4), (8, 8, 8, 8, 1), 4)
    choice = kernel_choice(kernel, conv, conv_shape(conv, 8, 8), 4)
    for scratch in (choice.scratch_bytes - 1, 8, 0):
        small = dataclasses.replace(choice, scratch_bytes=scratch)
        with pytest.raises(ToolFailed, match=f"status {SMALL_SCRATCH}"):
            run_on_host([KernelCase(conv, small, value)])


def test_accumulators_that_leave_int32_wrap_as_in_the_reference(run_on_host):
    given, output = Quantization(np.float32(1), -128), Quantization(np.float32(2.0**24), 0)
    bias, codebook = np.array([2**31 - 1, -(2**31)], np.int32), np.array([127, -127], np.int8)
    indices, scale = np.array([[0], [1]], np.uint8), np.ones(1, np.float32)
    layer = QuantizedFullyConnected("fc", given, output, 2, codebook, indices, scale, bias)
    assert _differing(run_on_host, [LayerCase(layer, np.full((1, 1, 1), 127, np.int8))]) == []


def test_reference_with_own_clamp_is_the_reference():
    conv, value = random_layer(np.random.default_rng(3), (5, 6, 4, 8, 1), 4)
    case = KernelCase(conv, kernel_choice(PORTABLE, conv, conv_shape(conv, 5, 6), 4), value)
    assert np.array_equal(expected(case), reference.convolve(conv, value[None])[0])


@pytest.fixture(scope="module", params=["plain", "sanitized"])
def requantize_on_host(request, tmp_path_factory):
    """A function from accumulators, multipliers and shifts to the C code's results."""
    need("cc")
    folder = tmp_path_factory.mktemp("requantize")
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", *(SANITIZERS if request.param == "sanitized" else ())]
    source = ROOT / "tests/firmware_stub/requantize_driver.c"
    command = ["cc", *flags, f"-I{ROOT / 'firmware_stub/src'}", "-o", folder / "driver", source]
    run_tool(command, cwd=folder, log=folder / "build.log")

    def run(*parts: np.ndarray) -> np.ndarray:
        head = np.array([parts[0].size], "<u4").tobytes()
        (folder / "cases.bin").write_bytes(head + b"".join(part.astype("<i4").tobytes() for part in parts))
        run_tool([folder / "driver", "cases.bin", "results.bin"], cwd=folder, log=folder / "run.log")
        return np.frombuffer((folder / "results.bin").read_bytes(), "<i4")

    return run


@pytest.mark.parametrize("shifts", [range(-31, 0), range(31)], ids=["right", "left"])
def test_requantize_equals_numpy_on_edge_values(requantize_on_host, shifts):
    powers = np.array([1 << k for k in range(31)], np.int64)
    edges = np.concatenate([powers, powers - 1, powers + 1])
    accumulators = np.unique(np.concatenate([edges, -edges, [2**31 - 1, -(2**31)]]))
    multipliers = np.array([0, 2**30, 2**30 + 1, 3 * 2**29, 2**31 - 2, 2**31 - 1])
    grid = np.meshgrid(accumulators, multipliers, np.array(shifts), indexing="ij")
    accumulator, multiplier, shift = (part.reshape(-1) for part in grid)
    wanted = requantize.requantize(accumulator, multiplier.astype(np.int32), shift.astype(np.int32))
    assert np.array_equal(requantize_on_host(accumulator, multiplier, shift), wanted)
