"""Cases for `winograd_driver.c`, and the driver itself on the host and on emulated cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.c_layers import layer_tables
from convert.integer_model import LayerShape, Quantization, QuantizedConv
from convert.kernel import ConvKernel
from convert.kernels_winograd import WINOGRAD_KERNELS
from convert.reference import accumulate
from convert.requantize import requantize
from deploy.tool import run_tool
from tests.random_models import random_codebook

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "firmware_stub"
SOURCES = [
    STUB / "src/repedge_conv3x3_s8.c",
    STUB / "src/repedge_prof.c",
    *sorted((STUB / "src/armv7em").glob("repedge_*winograd*.c")),
    ROOT / "tests/firmware_stub/winograd_driver.c",
]
INCLUDES = [f"-I{STUB / name}" for name in ("include", "src", "port/cortex_m")]
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
MEMORY = {"cortex-m33": (0x10000000, 0x38000000)}  # origins of flash and RAM of the FPGA boards, 4 MB each
NUMBERS = {"repedge_conv3x3_s8": 0, "repedge_conv3x3_s8_winograd2": 3, "repedge_conv3x3_s8_winograd4": 4}


@dataclass(frozen=True)
class Case:
    """One convolution of one input (H, W, C) by one kernel, and the outputs the numpy reference gives."""

    conv: QuantizedConv
    value: NDArray[np.int8]
    kernel: ConvKernel
    strip_channels: int
    scratch_bytes: int
    clamp: tuple[int, int]

    @property
    def expected(self) -> NDArray[np.int8]:
        """(H, W, O) with this case's clamps."""
        multiplier, shift = self.conv.requantization
        levels = requantize(accumulate(self.conv, self.value[None])[0], multiplier, shift)
        return np.clip(levels + self.conv.output.zero_point, *self.clamp).astype(np.int8)

    def encode(self) -> bytes:
        """The driver's bytes."""
        tables = layer_tables(self.conv, self.kernel)
        zero_points = (self.conv.input.zero_point, self.conv.output.zero_point)
        shapes = (*self.value.shape, *self.value.shape[:2], self.conv.bias.size)
        facts = [NUMBERS[self.kernel.function], *shapes, 1, self.conv.bit_width, *zero_points, *self.clamp]
        facts += [self.strip_channels, self.scratch_bytes, tables["indices"].size]
        return np.array(facts, "<i4").tobytes() + b"".join(t.tobytes() for t in tables.values()) + self.value.tobytes()


def layer_shape(conv: QuantizedConv, value: NDArray[np.int8]) -> LayerShape:
    """The shape a stride-1 layer has on that input."""
    height, width, _ = value.shape
    return LayerShape("conv", "conv", value.shape, (height, width, conv.bias.size), height * width * conv.indices.size)


def random_case(rng: np.random.Generator, kernel: ConvKernel, *, sides: Sequence[int], channels: Sequence[int]) -> Case:
    """Any shape, zero points, bit width, strip, scratch and clamps; most outputs lie inside the clamps."""
    in_channels, out_channels = int(rng.choice(channels)), int(rng.choice(channels))
    bit_width = int(rng.integers(2, 9))
    codebook = random_codebook(rng, bit_width, entries=int(rng.integers(2, min(2**bit_width, 255) + 1)))
    indices = rng.integers(0, codebook.size, (out_channels, 3, 3, in_channels), dtype=np.uint8)
    value = rng.integers(-128, 128, (int(rng.choice(sides)), int(rng.choice(sides)), in_channels)).astype(np.int8)
    return _fitted(rng, kernel, value, bit_width, codebook, indices)


def extreme_case(rng: np.random.Generator, kernel: ConvKernel, *, side: int, channels: int) -> Case:
    """Largest inputs and weights, in patterns that add up: checkerboards, columns, constants, by chance."""
    height, width, tap = np.indices((side, side, channels))
    patterns = [(height + width) % 2, height % 2, width % 2, np.ones_like(tap), rng.integers(0, 2, tap.shape)]
    value = np.where(patterns[int(rng.integers(5))] == 1, 127, -128).astype(np.int8)
    _, ky, kx, _ = np.indices((channels, 3, 3, channels))
    weights = [(ky + kx) % 2, ky % 2, kx % 2, np.ones_like(ky), rng.integers(0, 2, ky.shape)]
    indices = (weights[int(rng.integers(5))] ^ rng.integers(0, 2, (channels, 1, 1, 1))).astype(np.uint8)
    return _fitted(rng, kernel, value, 2, np.array([-127, 127], np.int8), indices)


def _fitted(
    rng: np.random.Generator,
    kernel: ConvKernel,
    value: NDArray[np.int8],
    bit_width: int,
    codebook: NDArray[np.int8],
    indices: NDArray[np.uint8],
) -> Case:
    """Output scale and clamps that follow from the accumulators."""
    out_channels = indices.shape[0]
    bias = rng.integers(-3000, 3000, out_channels).astype(np.int32)
    given = Quantization(np.float32(0.02), int(rng.choice([-128, 127, int(rng.integers(-128, 128))])))
    output = Quantization(np.float32(1), int(rng.choice([-128, int(rng.integers(-128, 128))])))
    scale = rng.uniform(0.004, 0.02, out_channels).astype(np.float32)
    conv = QuantizedConv("conv", 1, given, output, 8, bit_width, codebook, indices, scale, bias)
    real = np.abs(accumulate(conv, value[None]) * (0.02 * scale.astype(np.float64)))
    fitting = Quantization(np.float32(max(real.max() / 120, 0.05)), output.zero_point)
    conv = dataclasses.replace(conv, output=fitting)
    strip, scratch = _random_scratch(rng, kernel, conv, layer_shape(conv, value))
    low, high = sorted(int(edge) for edge in rng.integers(-128, 128, 2))
    clamps = [(-128, 127), (output.zero_point, 127), (low, high)]
    return Case(conv, value, kernel, strip, scratch, clamps[int(rng.integers(3))])


def _random_scratch(
    rng: np.random.Generator, kernel: ConvKernel, conv: QuantizedConv, shape: LayerShape
) -> tuple[int, int]:
    """A strip, and scratch for any number of pairs of tiles."""
    strip = int(rng.choice(kernel.strip_choices(conv, shape)))
    positions = 36 if kernel.function.endswith("4") else 16
    more = int(rng.integers(0, 5)) * 4 * positions * shape.input_hwc[2]
    return strip, kernel.scratch_bytes(conv, shape, strip) + more


def kernel_named(name: str) -> ConvKernel:
    """`winograd2`, `winograd4`, …"""
    return next(kernel for kernel in WINOGRAD_KERNELS if kernel.name == name)


def write_cases(cases: Sequence[Case], folder: Path) -> None:
    """`cases.bin` for the driver."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.bin").write_bytes(
        np.array([len(cases)], "<i4").tobytes() + b"".join(case.encode() for case in cases)
    )


def mismatches(cases: Sequence[Case], folder: Path) -> int:
    """Outputs of the driver that differ from the reference."""
    written = (folder / "outputs.bin").read_bytes()
    wanted = b"".join(case.expected.tobytes() for case in cases)
    if len(written) != len(wanted):
        return len(wanted)
    return int((np.frombuffer(written, np.int8) != np.frombuffer(wanted, np.int8)).sum())


def strictly_inside_share(cases: Sequence[Case]) -> float:
    """Share of all outputs that lie strictly inside their clamps."""
    inside = [((case.clamp[0] < case.expected) & (case.expected < case.clamp[1])).reshape(-1) for case in cases]
    return float(np.concatenate(inside).mean())


def build_host_driver(folder: Path, *, sanitize: bool = False) -> Path:
    """The driver with the plain C steps."""
    flags = ["-O2", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitize else ["-O3"]
    steps = STUB / "src/armv7em/portable/repedge_winograd_steps.c"
    host = ROOT / "tests/firmware_stub/host_semihosting.c"
    program = folder / "driver"
    run_tool(
        ["gcc", *WARNINGS, *flags, *INCLUDES, "-o", program, *SOURCES, steps, host], cwd=folder, log=folder / "build.log"
    )
    return program


def build_firmware_driver(folder: Path, core: str) -> Path:
    """The driver with the assembly steps, for the 4 MB of an FPGA board of that core."""
    flash, ram = MEMORY.get(core, (0, 0x20000000))
    values = {"FLASH_ORIGIN": flash, "FLASH_BYTES": 4 << 20, "RAM_ORIGIN": ram, "RAM_BYTES": 4 << 20, "STACK_BYTES": 4096}
    script = (STUB / "port/cortex_m/link.ld.in").read_text()
    for name, number in values.items():
        script = script.replace(f"@REPEDGE_{name}@", hex(number))
    (folder / "link.ld").write_text(script)
    port = [STUB / "port/cortex_m" / f"{name}.c" for name in ("startup", "fault", "mpu", "semihosting")]
    assembly = sorted((STUB / "src/armv7em").glob("repedge_winograd*.S"))
    program = folder / "driver.elf"
    flags = [f"-mcpu={core}", "-mthumb", "-mfloat-abi=hard", "-mfpu=auto", "-O3", "-ffunction-sections", "-g"]
    link = ["-nostartfiles", "--specs=nano.specs", f"-T{folder / 'link.ld'}", "-Wl,--gc-sections", f"-Wl,-Map={folder / 'map'}"]
    run_tool(
        ["arm-none-eabi-gcc", *WARNINGS, *flags, *INCLUDES, "-o", program, *SOURCES, *assembly, *port, *link],
        cwd=folder,
        log=folder / "build.log",
    )
    return program
