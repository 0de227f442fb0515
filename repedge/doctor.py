"""Which tools the pipeline calls, whether they are here and start, their versions, and the package that brings each."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata

# (program, Debian package, what needs it)
PROGRAMS = (
    ("cc", "gcc", "host C back end, counting plugin"),
    ("g++", "g++", "train: compile true"),
    ("cmake", "cmake", "firmware builds"),
    ("make", "make", "firmware builds"),
    ("arm-none-eabi-gcc", "gcc-arm-none-eabi", "Cortex-M firmware"),
    ("arm-none-eabi-objdump", "binutils-arm-none-eabi", "Cortex-M cycle model"),
    ("qemu-system-arm", "qemu-system-arm", "Cortex-M emulation"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "Cortex-A libraries"),
    ("qemu-aarch64", "qemu-user", "Cortex-A emulation"),
    ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf", "Cortex-A7 libraries"),
    ("qemu-arm", "qemu-user", "Cortex-A7 emulation"),
    ("llvm-objdump", "llvm", "Cortex-M55 cycle model"),
)
GLIBC = r"__GLIBC__ (\d+)|__GLIBC_MINOR__ (\d+)"
# (C library, its compiler, header, macros that hold its version, Debian package, what needs it)
C_LIBRARIES = (
    ("C library", "cc", "features.h", GLIBC, "libc6-dev", "host C back end"),
    (
        "newlib",
        "arm-none-eabi-gcc",
        "newlib.h",
        r'_NEWLIB_VERSION "(.+)"',
        "libnewlib-arm-none-eabi",
        "Cortex-M firmware",
    ),
    ("C library, arm64", "aarch64-linux-gnu-gcc", "features.h", GLIBC, "libc6-dev-arm64-cross", "Cortex-A libraries"),
    (
        "C library, armhf",
        "arm-linux-gnueabihf-gcc",
        "features.h",
        GLIBC,
        "libc6-dev-armhf-cross",
        "Cortex-A7 libraries",
    ),
)
TIMEOUT_S = 30
PYTHON_PACKAGES = (
    "torch",
    "tensorflow",
    "ai-edge-litert",
    "tflite-runtime",
    "onnx",
    "onnxruntime",
    "onnx2tf",
    "onnxscript",
    "apache-tvm",
    "apache-tvm-ffi",
    "ethos-u-vela",
    "numpy",
    "safetensors",
)


@dataclass(frozen=True)
class Tool:
    """One program, C library or Python package; where it cannot be used, `version` is None and `fault` says why."""

    name: str
    version: str | None
    package: str
    purpose: str
    fault: str | None = None


def examine() -> list[Tool]:
    """Every tool, usable or not."""
    programs = [_program(name, package, purpose) for name, package, purpose in PROGRAMS]
    libraries = [_c_library(*row) for row in C_LIBRARIES]
    python = Tool("python", platform.python_version(), "python3", "the pipeline itself")
    return [*programs, *libraries, python, *(_python_package(name) for name in PYTHON_PACKAGES)]


def tool_versions() -> dict[str, str]:
    """Versions of the tools that are here, for manifests and reports."""
    return {tool.name: tool.version for tool in examine() if tool.version}


def _program(name: str, package: str, purpose: str) -> Tool:
    """A program, with the first version number that its `--version` prints."""
    output, fault = _output([name, "--version"])
    found = re.search(r"\d+\.\d+(?:\.\d+)?", output)
    version = None if fault else found[0] if found else "unknown"
    return Tool(name, version, package, purpose, fault)


def _c_library(name: str, compiler: str, header: str, macros: str, package: str, purpose: str) -> Tool:
    """A C library, with the version that its header tells the compiler."""
    output, fault = _output([compiler, "-E", "-dM", "-include", header, "-xc", "/dev/null"])
    found = re.finditer(f"#define (?:{macros})", output)
    version = ".".join(part for match in found for part in match.groups() if part) or "unknown"
    return Tool(name, None if fault else version, package, purpose, fault)


def _python_package(name: str) -> Tool:
    """An installed Python package, or none."""
    try:
        return Tool(name, metadata.version(name), name, "by pip")
    except metadata.PackageNotFoundError:
        return Tool(name, None, name, "by pip", "missing")


def _output(command: list[str]) -> tuple[str, str | None]:
    """What a program prints, and why it cannot be used, if so."""
    if shutil.which(command[0]) is None:
        return "", "missing"
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"does not start: {error}"
    last = (result.stderr.strip().splitlines() or [""])[-1]
    return result.stdout + result.stderr, f"exit status {result.returncode}: {last}" if result.returncode else None
