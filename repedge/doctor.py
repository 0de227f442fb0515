"""Which tools the pipeline calls, whether they are here, their versions, and the package that brings each."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata

# (program, Debian package, what needs it)
PROGRAMS = (
    ("gcc", "gcc", "host C back end, counting plugin"),
    ("cmake", "cmake", "firmware builds"),
    ("make", "make", "firmware builds"),
    ("arm-none-eabi-gcc", "gcc-arm-none-eabi", "Cortex-M firmware"),
    ("arm-none-eabi-objdump", "binutils-arm-none-eabi", "Cortex-M cycle model"),
    ("qemu-system-arm", "qemu-system-arm", "Cortex-M emulation"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "Cortex-A libraries"),
    ("qemu-aarch64", "qemu-user", "Cortex-A emulation"),
    ("llvm-objdump", "llvm", "Cortex-M55 cycle model"),
)
PYTHON_PACKAGES = (
    "torch",
    "tensorflow",
    "tflite-runtime",
    "onnx",
    "onnxruntime",
    "onnx2tf",
    "apache-tvm",
    "ethos-u-vela",
    "numpy",
)


@dataclass(frozen=True)
class Tool:
    """One program or Python package; `version` is None where it is missing."""

    name: str
    version: str | None
    package: str
    purpose: str


def examine() -> list[Tool]:
    """Every tool, present or missing."""
    programs = [Tool(name, program_version(name), package, purpose) for name, package, purpose in PROGRAMS]
    return programs + [Tool(name, package_version(name), name, "Python package") for name in PYTHON_PACKAGES]


def tool_versions() -> dict[str, str]:
    """Versions of the tools that are here, for manifests and reports."""
    return {tool.name: tool.version for tool in examine() if tool.version}


def package_version(name: str) -> str | None:
    """Version of an installed Python package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def program_version(name: str) -> str | None:
    """First version number that `name --version` prints."""
    path = shutil.which(name)
    if path is None:
        return None
    result = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", result.stdout + result.stderr)
    return found[0] if found else "unknown"
