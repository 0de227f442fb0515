"""Single convolutions under emulation: one ELF file that runs any number of layers, with any kernel of its core.

For tests and benchmarks: outputs are exact, and instructions are counted for the first `COUNTED` cases of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.c_layers import layer_tables
from convert.integer_model import LayerShape, QuantizedConv
from convert.kernel import KernelChoice
from deploy.emulator import build_plugin, run_system
from deploy.firmware_build import SOURCE, FirmwareMemory, build_firmware
from deploy.profile import OUTSIDE, Profile
from deploy.targets import CortexMTarget, Region, load_target
from train.artefact import write_bytes
from train.errors import ConfigError, ToolFailed

COUNTED = OUTSIDE
KERNEL_NUMBERS = (  # repedge_kernel_t
    "PORTABLE",
    "DSP_DIRECT",
    "DSP_FIRST",
    "DSP_WINOGRAD2",
    "DSP_WINOGRAD4",
    "MVE_DIRECT",
    "MVE_FIRST",
)
# machine, origins of flash and RAM; 512 KiB of each
MACHINES = {
    "cortex-m3": ("mps2-an385", 0x00000000, 0x20000000),
    "cortex-m4": ("mps2-an386", 0x00000000, 0x20000000),
    "cortex-m7": ("mps2-an500", 0x00000000, 0x20000000),
    "cortex-m33": ("mps2-an505", 0x10000000, 0x38000000),
    "cortex-m55": ("mps3-an547", 0x00000000, 0x20000000),
}
SIZE_BYTES = 0x80000
TIMEOUT_S = 1200.0


@dataclass(frozen=True)
class KernelCase:
    """One convolution with its kernel and an int8 (H, W, C) input."""

    conv: QuantizedConv
    choice: KernelChoice
    value: NDArray[np.int8]
    clamp: tuple[int, int] | None = None  # other than the layer's own

    @property
    def output_hwc(self) -> tuple[int, int, int]:
        """Sizes of the output."""
        return (*self.conv.output_size(*self.value.shape[:2]), self.conv.indices.shape[0])

    def to_bytes(self) -> bytes:
        """As kernel_runner.c reads it."""
        conv, kernel = self.conv, self.choice.kernel
        tables = layer_tables(conv, kernel)
        low, high = self.clamp or (conv.clamp_min, conv.clamp_max)
        facts = [KERNEL_NUMBERS.index(kernel.constant.removeprefix("REPEDGE_KERNEL_")), *self.value.shape]
        facts += [*self.output_hwc, conv.stride, conv.bit_width, conv.input.zero_point, conv.output.zero_point]
        facts += [low, high, self.choice.strip_channels, self.choice.scratch_bytes, tables["indices"].size]
        parts = [np.array(facts, "<i4"), *tables.values(), self.value]
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


@dataclass(frozen=True)
class KernelRunner:
    """A built runner: the emulated machine and the ELF file."""

    target: CortexMTarget
    elf: Path


def conv_shape(conv: QuantizedConv, height: int, width: int) -> LayerShape:
    """The sizes of one convolution alone."""
    channels, _, _, in_channels = conv.indices.shape
    out = conv.output_size(height, width)
    macs = out[0] * out[1] * conv.indices.size
    return LayerShape(conv.name, "conv", (height, width, in_channels), (*out, channels), macs)


def build_kernel_runner(core: str, out: Path) -> KernelRunner:
    """Build the runner for a core into `out`."""
    if core not in MACHINES:
        raise ConfigError(
            f"core {core}: no machine is known for it; allowed are {', '.join(MACHINES)}; name one of them"
        )
    machine, flash, ram = MACHINES[core]
    memory = FirmwareMemory(flash, SIZE_BYTES, ram, SIZE_BYTES)
    build_firmware(SOURCE / "example_model", core, out, memory=memory, kernel_runner=True)
    target = load_target(core)
    if not isinstance(target, CortexMTarget):
        raise ConfigError(f"target {core} is no Cortex-M; the kernel runner allows only those; name another")
    regions = {
        "flash": Region(origin=flash, size_bytes=SIZE_BYTES),
        "ram": Region(origin=ram, size_bytes=SIZE_BYTES),
    }
    return KernelRunner(target.model_copy(update={"machine": machine, **regions}), out / "repedge_kernels.elf")


def run_kernels(
    runner: KernelRunner, cases: list[KernelCase], folder: Path, *, count: bool = False
) -> tuple[list[NDArray[np.int8]], list[int]]:
    """Outputs (H, W, C) of all cases, and with `count` the instructions of each (at most `COUNTED`)."""
    if count:
        outputs, profile = profile_kernels(runner, cases, folder)
        return outputs, list(profile.layer_instructions(len(cases)))
    _write_cases(cases, folder)
    run_system(runner.target, runner.elf, folder, timeout_s=TIMEOUT_S)
    return _read_outputs(cases, folder), []


def profile_kernels(
    runner: KernelRunner, cases: list[KernelCase], folder: Path
) -> tuple[list[NDArray[np.int8]], Profile]:
    """Outputs (H, W, C) of at most `COUNTED` cases and their exact counts; case k is bucket k."""
    _write_cases(cases, folder)
    plugin = build_plugin(folder / "plugin")
    run = run_system(runner.target, runner.elf, folder, plugin=plugin, memory=False, timeout_s=TIMEOUT_S)
    return _read_outputs(cases, folder), run.counts


def _write_cases(cases: list[KernelCase], folder: Path) -> None:
    head = np.array([len(cases)], "<u4").tobytes()
    write_bytes(folder / "cases.bin", head + b"".join(case.to_bytes() for case in cases))


def _read_outputs(cases: list[KernelCase], folder: Path) -> list[NDArray[np.int8]]:
    content = np.frombuffer((folder / "results.bin").read_bytes(), np.int8)
    sizes = [int(np.prod(case.output_hwc)) for case in cases]
    if content.size != sum(sizes):
        raise ToolFailed(
            f"{folder / 'results.bin'}: {content.size} bytes, {sum(sizes)} are expected; see the log beside it"
        )
    parts = np.split(content, np.cumsum(sizes)[:-1])
    return [part.reshape(case.output_hwc) for part, case in zip(parts, cases, strict=True)]
