"""What a benchmark's results file says of its making: commit and versions of the tools."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent


def tool_versions(tools: Sequence[str] = ("arm-none-eabi-gcc", "qemu-system-arm")) -> dict[str, str]:
    """Tool -> the first line of its `--version`."""
    return {tool: _output([tool, "--version"]).splitlines()[0] for tool in tools}


def commit() -> str:
    """The checkout's commit."""
    return _output(["git", "-C", str(HERE), "rev-parse", "HEAD"]).strip()


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
