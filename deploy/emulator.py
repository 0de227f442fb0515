"""Runs programs under QEMU, counted by our own plugin: whole boards for Cortex-M, user mode for Cortex-A.

Counts are exact and equal in every run of the same program and input. Time is not modelled and never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.elf_symbols import ElfImage, read_elf
from deploy.profile import MARK_FUNCTION, MARKS_SYMBOL, Profile, read_profile
from deploy.targets import CortexATarget, CortexMTarget
from deploy.tool import ToolRun, run_any, run_tool
from train.artefact import atomic_path, sha256_json
from train.errors import ToolFailed

PLUGIN_FOLDER = Path(__file__).parent / "plugin"
PLUGIN_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")
DUMP_NAME = "profile.txt"
LOG_NAME = "emulator.log"
STACK_SECTION = ".stack"

# the firmware's fault handler exits with 100 + the exception's number
FAULTS = {102: "NMI", 103: "HardFault", 104: "MemManage", 105: "BusFault", 106: "UsageFault", 107: "SecureFault"}


@dataclass(frozen=True)
class EmulatorRun:
    """What a run printed, and its counts when it was counted."""

    output: str
    profile: Profile | None = None

    @property
    def counts(self) -> Profile:
        """The counts of a counted run."""
        if self.profile is None:
            raise ValueError("this run was not counted; give run_system or run_user the plugin")
        return self.profile


def build_plugin(folder: Path) -> Path:
    """Compile the counting plugin into `folder`, once per content of its sources."""
    sources = sorted(path for path in PLUGIN_FOLDER.iterdir() if path.suffix in (".c", ".h"))
    key = sha256_json([PLUGIN_FLAGS, [path.read_text() for path in sources]])[:16]
    library = folder.absolute() / f"count-{key}.so"
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(library) as temporary:
            command: list[str | Path] = ["cc", *PLUGIN_FLAGS, "-o", temporary, PLUGIN_FOLDER / "count.c"]
            run_tool(command, cwd=PLUGIN_FOLDER, log=folder / "plugin.log")
    return library


def run_system(
    target: CortexMTarget,
    elf: Path,
    cwd: Path,
    *,
    plugin: Path | None = None,
    memory: bool = True,
    timeout_s: float = 600,
) -> EmulatorRun:
    """Boot an ELF file on the target's board; its semihosting files are relative to `cwd`. With `plugin`, count.

    `memory` watches loads and stores too, at less than half the speed.
    Any end but the firmware's own exit with status 0 is `ToolFailed`; a fault is named.
    """
    command = ["qemu-system-arm", "-M", target.machine, "-display", "none", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf.absolute())]
    if plugin is not None:
        options = _mark_options(read_elf(elf)) + (_memory_options(target, read_elf(elf)) if memory else [])
        command += ["-plugin", _plugin_argument(plugin, options)]
    return _run(command, cwd, counted=plugin is not None, timeout_s=timeout_s)


def run_user(
    target: CortexATarget,
    program: Path,
    arguments: Sequence[str] = (),
    cwd: Path = Path(),
    *,
    plugin: Path | None = None,
    memory: bool = False,
    timeout_s: float = 600,
) -> EmulatorRun:
    """Run a Linux program of the target under user-mode QEMU in `cwd`. With `plugin`, count; `memory` adds loads and stores.

    A counted program is linked at fixed addresses (-no-pie). The environment is empty and the program's own path short,
    because both lie on the guest's stack and shift the C library's start-up counts.
    """
    local = program.absolute()
    name = f"./{local.relative_to(cwd.absolute())}" if local.is_relative_to(cwd.absolute()) else str(local)
    command = [target.emulator, "-cpu", target.cpu, "-L", target.sysroot, "-seed", "0"]
    if plugin is not None:
        options = _mark_options(read_elf(program)) + (["memory=on"] if memory else [])
        command += ["-plugin", _plugin_argument(plugin, options)]
    command += [name, *arguments]
    return _run(command, cwd, counted=plugin is not None, timeout_s=timeout_s, environment={})


def _memory_options(target: CortexMTarget, image: ElfImage) -> list[str]:
    """What the plugin watches on a board: loads from flash, the stack, and stores to RAM above the stack."""
    flash, ram = target.flash, target.ram
    options = [f"flash={flash.link_origin:x}:{flash.link_origin + flash.size_bytes:x}"]
    options += [f"line={target.flash_line_bytes:x}", f"lines={target.flash_cache_lines:x}"]
    stack = next((section for section in image.sections if section.name == STACK_SECTION), None)
    if stack is not None:
        stack_end = stack.address + stack.size
        options += [f"stack={stack.address:x}:{stack_end:x}"]
        options += [f"touch={stack_end:x}:{ram.link_origin + target.link_ram_bytes:x}"]
    return options


def _mark_options(image: ElfImage) -> list[str]:
    """The ranges of the marks and of the function that sets them; none where the program has no marks."""
    if MARKS_SYMBOL not in image.symbols:
        return []
    marks, function = image.symbol(MARKS_SYMBOL), image.symbol(MARK_FUNCTION)
    return [f"marks={marks.address:x}:{marks.end:x}", f"code={function.address:x}:{function.end:x}"]


def _plugin_argument(plugin: Path, options: list[str]) -> str:
    """QEMU's option string; a comma inside a value is doubled. The dump's name is relative to the run's folder."""
    values = [f"file={plugin.absolute()}", f"out={DUMP_NAME}", *options]
    return ",".join(value.replace(",", ",,") for value in values)


def _run(
    command: list[str], cwd: Path, *, counted: bool, timeout_s: float, environment: dict[str, str] | None = None
) -> EmulatorRun:
    cwd.mkdir(parents=True, exist_ok=True)
    dump = cwd / DUMP_NAME
    dump.unlink(missing_ok=True)
    log = cwd / LOG_NAME
    run = run_any(command, cwd=cwd, log=log, timeout_s=timeout_s, environment=environment)
    if run.status != 0:
        raise ToolFailed(
            f"{command[0]}: the program ended {describe_status(run)}, status 0 is expected; see {log}\n{run.tail}"
        )
    return EmulatorRun(run.output, read_profile(dump) if counted else None)


def describe_status(run: ToolRun) -> str:
    """An exit status in words: a fault of the emulated core, a signal, or a plain status."""
    if run.status in FAULTS:
        return f"by a {FAULTS[run.status]} of the emulated core (status {run.status})"
    if run.status < 0 or run.status >= 128:
        number = -run.status if run.status < 0 else run.status - 128
        return f"by signal {number} (6 means that the emulated core locked up)"
    return f"with status {run.status}"
