"""Building the C runtime with a model's tables, by CMake: the host program or a firmware ELF for one core and memory."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from convert.c_reader import check_c_model
from convert.c_source import FOLDER_NAME
from deploy.result import ConvertedModel
from train.artefact import atomic_path
from train.errors import BudgetExceeded, ConfigError, ToolFailed, ToolMissing

SOURCE = Path(__file__).resolve().parents[1] / "firmware_stub"
CORES = ("host", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
LOG_NAME = "build.log"
TAIL_LINES = 15


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
    check_c_model(converted.model, folder)
    return folder


def build_firmware(
    model_dir: Path,
    core: str,
    out: Path,
    *,
    memory: FirmwareMemory | None = None,
    probe: bool = False,
    sanitize: bool = False,
) -> Path:
    """Build into `out` and return `out/repedge.elf` (`out/repedge_host` for the host).

    Beside it: `repedge.map`, `build.log`, and with `probe` `repedge_probe.elf`, which breaks the memory rules on
    purpose. Without `memory` the sizes of the core's usual QEMU machine hold.
    """
    if core not in CORES:
        raise ConfigError(f"core {core}: no such core; allowed are {', '.join(CORES)}; set it in the target's file")
    _require_tools(core)
    build = out / "build"
    shutil.rmtree(build, ignore_errors=True)  # a cache of another folder or model would be an error
    build.mkdir(parents=True)
    definitions = {
        "REPEDGE_CORE": core,
        "REPEDGE_MODEL_DIR": str(model_dir.resolve()),
        "REPEDGE_PROBE": "ON" if probe else "OFF",
        "REPEDGE_SANITIZE": "ON" if sanitize else "OFF",
    } | (memory.definitions() if memory else {})
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    log = out / LOG_NAME
    log.write_text("")
    _run(["cmake", "-S", str(SOURCE), "-B", str(build), *options], core, log)
    _run(["cmake", "--build", str(build), "--verbose"], core, log)
    return _take(build, out, core)


def _require_tools(core: str) -> None:
    tools = {"cmake": "cmake", "make": "make"}
    tools |= {"gcc": "gcc"} if core == "host" else {"arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi"}
    for tool, package in tools.items():
        if shutil.which(tool) is None:
            raise ToolMissing(
                f"{tool}: not found; the {core} build needs it; install it with: apt-get install {package}"
            )


def _run(command: list[str], core: str, log: Path) -> None:
    """Run one step; its output is appended to the log, whose tail is in the error."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    with log.open("a") as handle:
        handle.write(f"$ {' '.join(command)}\n{result.stdout}")
    if result.returncode == 0:
        return
    _raise_overflow(result.stdout, core)
    tail = "\n".join(result.stdout.splitlines()[-TAIL_LINES:])
    raise ToolFailed(f"{command[0]}: exit code {result.returncode}, 0 allowed; see {log}; its last lines:\n{tail}")


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
    program = out / ("repedge_host" if core == "host" else "repedge.elf")
    for built in sorted(build.iterdir()):
        if built.suffix in (".elf", ".map") or built.name == program.name:
            with atomic_path(out / built.name) as temporary:
                shutil.copy(built, temporary)
    return program
