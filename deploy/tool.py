"""External programs: found or reported with their Debian package, run as argument lists, their output kept."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.artefact import write_text
from train.errors import ToolFailed, ToolMissing

DEBIAN_PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
    "cc": "gcc libc6-dev",
    "cmake": "cmake",
    "llvm-objdump": "llvm",
    "make": "make",
    "qemu-aarch64": "qemu-user",
    "qemu-arm": "qemu-user",
    "qemu-system-arm": "qemu-system-arm",
}

TAIL_LINES = 20


@dataclass(frozen=True)
class ToolRun:
    """How a program ended: its exit status (negative: killed by that signal) and stdout with stderr, as printed."""

    status: int
    output: str

    @property
    def tail(self) -> str:
        """The last lines of the output, for an error message."""
        return "\n".join(self.output.splitlines()[-TAIL_LINES:])


def find_tool(name: str) -> Path:
    """The absolute path of a program, or `ToolMissing` naming the Debian package that has it."""
    found = shutil.which(name)
    if found is None:
        package = DEBIAN_PACKAGES.get(name, name)
        raise ToolMissing(f"{name}: not found on PATH; this step needs it; install it with: apt-get install {package}")
    return Path(found).absolute()


def run_any(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> ToolRun:
    """Run a program (its name is looked up on PATH), write `log`, and hand back any exit status it ends with."""
    arguments = [str(find_tool(str(command[0]))), *map(str, command[1:])]
    try:
        ended = subprocess.run(
            arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        run = ToolRun(ended.returncode, ended.stdout.decode(errors="replace"))
    except subprocess.TimeoutExpired as error:
        run = ToolRun(-9, (error.stdout or b"").decode(errors="replace"))
        write_text(log, run.output)
        raise ToolFailed(
            f"{command[0]}: still running after {timeout_s:g} s, and stopped; see {log}\n{run.tail}"
        ) from error
    write_text(log, run.output)
    return run


def run_tool(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    timeout_s: float = 600,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The output of a program that must end with status 0; otherwise `ToolFailed` with its tail."""
    run = run_any(command, cwd=cwd, log=log, timeout_s=timeout_s, environment=environment)
    if run.status != 0:
        raise ToolFailed(f"{command[0]}: ended with status {run.status}, 0 is expected; see {log}\n{run.tail}")
    return run.output
