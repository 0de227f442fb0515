"""Building the C runtime with a model's tables, by CMake: the host program or a firmware ELF for one core and memory."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.c_source import FOLDER_NAME, verify_c_model
from deploy.result import ConvertedModel
from deploy.tool import find_tool, run_any, run_tool
from train.artefact import atomic_path
from train.errors import BudgetExceeded, ConfigError, ToolFailed

SOURCE = Path(__file__).resolve().parents[1] / "firmware_stub"
CORES = ("host", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
LOG_NAME = "build.log"
HOST_KERNELS = "repedge_kernels"


@dataclass(frozen=True)
class FirmwareMemory:
    """Where the firmware is linked and how much of it the chip really has; the stack lies first in RAM."""

    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int
    stack_bytes: int = 2048

    def definitions(self) -> dict[str, str]:
        """The CMake variables that say so."""
        return {
            "REPEDGE_FLASH_ORIGIN": hex(self.flash_origin),
            "REPEDGE_FLASH_BYTES": hex(self.flash_bytes),
            "REPEDGE_RAM_ORIGIN": hex(self.ram_origin),
            "REPEDGE_RAM_BYTES": hex(self.ram_bytes),
            "REPEDGE_STACK_BYTES": str(self.stack_bytes),
        }


def checked_model_dir(converted: ConvertedModel) -> Path:
    """The convert folder's C tables, read back and found equal to its integer model."""
    folder = converted.folder / FOLDER_NAME
    verify_c_model(converted.model, folder)
    return folder


def build_firmware(
    model_dir: Path,
    core: str,
    out: Path,
    *,
    memory: FirmwareMemory | None = None,
    probe: bool = False,
    sanitize: bool = False,
    kernel_runner: bool = False,
    objects: Sequence[Path] = (),
) -> Path:
    """Build into `out` and return `out/repedge.elf` (`out/repedge_host` for the host).

    Beside it: `repedge.map`, `build.log`, and with `probe` `repedge_probe.elf`, which breaks the memory rules on
    purpose, and with `kernel_runner` `repedge_kernels.elf` (`repedge_kernels` for the host). `objects` are linked with the
    model. Without `memory` the sizes of the core's usual QEMU machine hold.
    """
    if core not in CORES:
        raise ConfigError(f"core {core}: no such core; allowed are {', '.join(CORES)}; set it in the target's file")
    for tool in ("make", "cc" if core == "host" else "arm-none-eabi-gcc"):
        find_tool(tool)  # CMake would say it less clearly
    build = _empty_folder(out, core)
    definitions = {
        "REPEDGE_CORE": core,
        "REPEDGE_MODEL_DIR": str(model_dir.resolve()),
        "REPEDGE_MODEL_OBJECTS": ";".join(str(path.resolve()) for path in objects),
        "REPEDGE_PROBE": "ON" if probe else "OFF",
        "REPEDGE_SANITIZE": "ON" if sanitize else "OFF",
        "REPEDGE_KERNEL_RUNNER": "ON" if kernel_runner else "OFF",
    } | (memory.definitions() if memory else {})
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    run_tool(["cmake", "-S", SOURCE, "-B", build, *options], cwd=out, log=out / "configure.log")
    compiled = run_any(["cmake", "--build", build, "--verbose"], cwd=out, log=out / LOG_NAME, timeout_s=600)
    if compiled.status != 0:
        _raise_overflow(compiled.output, core)
        raise ToolFailed(
            f"cmake: ended with status {compiled.status}, 0 is expected; see {out / LOG_NAME}\n{compiled.tail}"
        )
    return _take(build, out, core)


def _program_name(core: str) -> str:
    return "repedge_host" if core == "host" else "repedge.elf"


def _empty_folder(out: Path, core: str) -> Path:
    """A fresh build folder in `out`, and no program of an earlier build: a CMake cache of another model would be an error."""
    (out / _program_name(core)).unlink(missing_ok=True)
    build = out.resolve() / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    return build


def _raise_overflow(output: str, core: str) -> None:
    """The linker's "region `RAM' overflowed by 1234 bytes" as a broken budget."""
    overflows = re.findall(r"region `(\w+)' overflowed by (\d+) bytes?", output)
    if overflows:
        largest: dict[str, int] = {}
        for region, count in overflows:
            largest[region] = max(largest.get(region, 0), int(count))
        facts = " and ".join(f"{region} by {count} bytes" for region, count in sorted(largest.items()))
        raise BudgetExceeded(
            f"firmware for {core}: the link overflows {facts}, allowed 0; use a smaller net, fewer weight bits or a larger chip"
        )


def _take(build: Path, out: Path, core: str) -> Path:
    """Copy what was built out of the build folder."""
    program = out / _program_name(core)
    for built in sorted(build.iterdir()):
        if built.suffix in (".elf", ".map") or built.name in (program.name, HOST_KERNELS):
            with atomic_path(out / built.name) as temporary:
                shutil.copy(built, temporary)
    return program
