"""Single layers under emulation or on the host: one program that runs any number of them, with any kernel of its core.

For tests and benchmarks: outputs are exact, and under emulation instructions are counted for the first `COUNTED` cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.c_layers import layer_tables
from convert.integer_model import LayerShape, QuantizedConv, QuantizedFullyConnected
from convert.kernel import KernelChoice
from convert.stored import stored_layer
from deploy.emulator import build_plugin, run_system
from deploy.firmware_build import SOURCE, FirmwareMemory, build_firmware
from deploy.profile import OUTSIDE, Profile
from deploy.targets import CortexMTarget, Region, load_target
from deploy.tool import run_tool
from train.artefact import write_bytes
from train.errors import ConfigError, ToolFailed

COUNTED = OUTSIDE
HOST = "host"
KINDS = ("conv", "pool", "fully_connected")  # repedge_kind_t
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
CASES_NAME = "cases.bin"
RESULTS_NAME = "results.bin"
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
        """As kernel_case.h describes it."""
        conv, choice = self.conv, self.choice
        number = KERNEL_NUMBERS.index(choice.kernel.constant.removeprefix("REPEDGE_KERNEL_"))
        clamp = self.clamp or (conv.clamp_min, conv.clamp_max)
        facts = [
            KINDS.index("conv"),
            number,
            *self.value.shape,
            *self.output_hwc,
            conv.stride,
            stored_layer(conv).bit_width,
        ]
        facts += [conv.input.zero_point, conv.output.zero_point, *clamp, choice.strip_channels, choice.scratch_bytes]
        return _case_bytes(facts, layer_tables(conv, choice.kernel), self.value)


@dataclass(frozen=True)
class LayerCase:
    """One pooling (`layer` None) or fully connected layer and an int8 (H, W, C) input."""

    layer: QuantizedFullyConnected | None
    value: NDArray[np.int8]

    @property
    def output_hwc(self) -> tuple[int, int, int]:
        """Sizes of the output."""
        return (1, 1, self.layer.indices.shape[0] if self.layer else self.value.shape[2])

    def to_bytes(self) -> bytes:
        """As kernel_case.h describes it."""
        layer, kind = self.layer, KINDS.index("fully_connected" if self.layer else "pool")
        own = (stored_layer(layer).bit_width, layer.input.zero_point, layer.output.zero_point) if layer else (0, 0, 0)
        facts = [kind, 0, *self.value.shape, *self.output_hwc, 1, *own, -128, 127, 0, 0]
        return _case_bytes(facts, layer_tables(layer) if layer else {}, self.value)


Case = KernelCase | LayerCase


def _case_bytes(facts: list[int], tables: Mapping[str, NDArray[np.integer]], value: NDArray[np.int8]) -> bytes:
    indices = tables["indices"].size if tables else 0
    parts = [np.array([*facts, indices], "<i4"), *tables.values(), value]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


@dataclass(frozen=True)
class KernelRunner:
    """A built runner: the emulated machine and the ELF file."""

    target: CortexMTarget
    elf: Path

    def run(self, cases: Sequence[Case], folder: Path) -> list[NDArray[np.int8]]:
        """Outputs (H, W, C) of all cases."""
        _write_cases(cases, folder)
        run_system(self.target, self.elf, folder, timeout_s=TIMEOUT_S)
        return _read_outputs(cases, folder)


@dataclass(frozen=True)
class HostRunner:
    """A built runner of this machine: the portable kernels, and the Winograd ones with plain C steps."""

    program: Path

    def run(self, cases: Sequence[Case], folder: Path) -> list[NDArray[np.int8]]:
        """Outputs (H, W, C) of all cases."""
        _write_cases(cases, folder)
        run_tool([self.program.absolute(), CASES_NAME, RESULTS_NAME], cwd=folder, log=folder / "run.log")
        return _read_outputs(cases, folder)


def build_host_runner(out: Path, *, sanitize: bool = False) -> HostRunner:
    """Build the host's runner into `out`, with the address and undefined behaviour sanitizers where asked for."""
    build_firmware(SOURCE / "example_model", HOST, out, sanitize=sanitize, kernel_runner=True)
    return HostRunner(out / "repedge_kernels")


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
    return runner.run(cases, folder), []


def profile_kernels(
    runner: KernelRunner, cases: list[KernelCase], folder: Path
) -> tuple[list[NDArray[np.int8]], Profile]:
    """Outputs (H, W, C) of at most `COUNTED` cases and their exact counts; case k is bucket k."""
    _write_cases(cases, folder)
    plugin = build_plugin(folder / "plugin")
    run = run_system(runner.target, runner.elf, folder, plugin=plugin, memory=False, timeout_s=TIMEOUT_S)
    return _read_outputs(cases, folder), run.counts


def _write_cases(cases: Sequence[Case], folder: Path) -> None:
    head = np.array([len(cases)], "<u4").tobytes()
    write_bytes(folder / CASES_NAME, head + b"".join(case.to_bytes() for case in cases))


def _read_outputs(cases: Sequence[Case], folder: Path) -> list[NDArray[np.int8]]:
    content = np.frombuffer((folder / RESULTS_NAME).read_bytes(), np.int8)
    sizes = [int(np.prod(case.output_hwc)) for case in cases]
    if content.size != sum(sizes):
        raise ToolFailed(
            f"{folder / RESULTS_NAME}: {content.size} bytes, {sum(sizes)} are expected; see the log beside it"
        )
    parts = np.split(content, np.cumsum(sizes)[:-1])
    return [part.reshape(case.output_hwc) for part, case in zip(parts, cases, strict=True)]
