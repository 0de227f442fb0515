"""Random and extreme cases for the Winograd kernels, and the driver that runs them on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_cases import inside_share, random_layer
from convert.integer_model import QuantizedConv
from convert.kernel import ConvKernel, KernelChoice
from convert.kernels import kernel_choice
from convert.kernels_winograd import WINOGRAD_KERNELS
from convert.reference import accumulate
from convert.requantize import requantize
from deploy.kernel_runner import KernelCase, conv_shape
from deploy.tool import run_tool

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "firmware_stub"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def kernel_named(name: str) -> ConvKernel:
    """`dsp_winograd2`, `dsp_winograd4`, …"""
    return next(kernel for kernel in WINOGRAD_KERNELS if kernel.name == name)


def expected(case: KernelCase) -> NDArray[np.int8]:
    """What the numpy reference gives, (H, W, O), with the case's clamps."""
    conv = case.conv
    levels = requantize(accumulate(conv, case.value[None])[0], *conv.requantization)
    clamp = case.clamp or (conv.clamp_min, conv.clamp_max)
    return np.clip(levels + conv.output.zero_point, *clamp).astype(np.int8)


def mean_inside_share(cases: Sequence[KernelCase]) -> float:
    """Share of outputs strictly inside their clamps, over all cases."""
    return float(np.mean([inside_share(case.conv, expected(case), case.clamp) for case in cases]))


def random_case(rng: np.random.Generator, kernel: ConvKernel, channels: Sequence[int], largest_side: int) -> KernelCase:
    """Any shape, zero points, bit width, clamps, strip and scratch that the kernel takes."""
    side = (int(rng.integers(1, largest_side + 1)), int(rng.integers(1, largest_side + 1)))
    sizes = (*side, int(rng.choice(channels)), int(rng.choice(channels)), 1)
    given = int(rng.choice([-128, 127, int(rng.integers(-128, 128))]))
    output = int(rng.choice([-128, int(rng.integers(-128, 100))]))
    bits = int(rng.choice([8, 8, int(rng.integers(4, 8))]))
    conv, value = random_layer(rng, sizes, int(rng.integers(2, 9)), zero_points=(given, output), activation_bits=bits)
    without_relu = [(-128, 127), (max(-128, output - 90), min(127, output + 90))]
    clamp = without_relu[int(rng.integers(2))] if rng.random() < 0.3 else None
    if clamp and rng.random() < 0.5:  # negative accumulators too
        conv = dataclasses.replace(conv, bias=(conv.bias // 4).astype(np.int32))
    return KernelCase(conv, _random_choice(rng, kernel, conv, value), value, clamp)


def extreme_case(
    rng: np.random.Generator, kernel: ConvKernel, channels: Sequence[int], largest_side: int
) -> KernelCase:
    """Inputs −128 and 127 in patterns, weights −127 and 127 in patterns that add up in the transforms."""
    sizes = (int(rng.integers(3, largest_side + 1)), int(rng.integers(3, largest_side + 1)))
    widths = (int(rng.choice(channels)), int(rng.choice(channels)))
    conv, value = random_layer(
        rng, (*sizes, *widths, 1), 2, zero_points=(int(rng.choice([-128, 0, 127])), -128), extreme=True
    )
    out, ky, kx, _ = np.indices(conv.indices.shape)
    patterns = ((ky + kx) % 2, ky % 2, kx % 2, np.zeros_like(ky), (ky + kx + out) % 2, rng.integers(0, 2, ky.shape))
    indices = patterns[int(rng.integers(len(patterns)))].astype(np.uint8)
    sums = accumulate(dataclasses.replace(conv, indices=indices, bias=0 * conv.bias), value[None]).reshape(
        -1, widths[1]
    )
    middle, spread = sums.mean(axis=0), max(float(sums.std(axis=0).max()), 1000.0)
    scale = np.float32(0.02 * float(conv.weight_scale.max()) * 4 * spread / 255)
    fitting = dataclasses.replace(conv.output, scale=scale)
    bias = np.round(2 * spread - middle).astype(np.int32)
    conv = dataclasses.replace(conv, indices=indices, bias=bias, output=fitting)
    return KernelCase(conv, _random_choice(rng, kernel, conv, value), value)


def _random_choice(
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


def build_host_driver(folder: Path, flags: Sequence[str] = ()) -> Callable[[Sequence[KernelCase]], NDArray[np.int8]]:
    """A function from cases to all their outputs in a row, computed by the kernels with the plain C steps."""
    winograd = sorted((STUB / "src/armv7em").glob("repedge_*winograd*.c"))
    sources = [
        *winograd,
        STUB / "src/armv7em/portable/repedge_winograd_steps.c",
        ROOT / "tests/firmware_stub/winograd_driver.c",
    ]
    includes = [f"-I{STUB / name}" for name in ("include", "src")]
    warnings = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow"]
    command = ["gcc", *warnings, *flags, *includes, "-o", folder / "driver", *sources]
    run_tool(command, cwd=folder, log=folder / "build.log")

    def run(cases: Sequence[KernelCase]) -> NDArray[np.int8]:
        head = np.array([len(cases)], "<u4").tobytes()
        (folder / "cases.bin").write_bytes(head + b"".join(case.to_bytes() for case in cases))
        run_tool([folder / "driver", "cases.bin", "results.bin"], cwd=folder, log=folder / "run.log")
        return np.frombuffer((folder / "results.bin").read_bytes(), np.int8)

    return run
