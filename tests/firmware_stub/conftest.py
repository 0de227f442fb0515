"""The kernels' test driver, compiled once plainly and once with sanitizers, and the tools these tests need."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def need(tool: str, package: str) -> None:
    """Skip, naming the tool, where it is not installed."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (Debian package {package})")


@pytest.fixture(scope="session", params=["plain", "sanitized"])
def run_cases(request, tmp_path_factory) -> Callable[[bytes], bytes]:
    """A function from the driver's cases to its results."""
    need("gcc", "gcc")
    folder = tmp_path_factory.mktemp(f"driver_{request.param}")
    sources = [ROOT / "tests/firmware_stub/kernel_driver.c", *sorted((ROOT / "firmware_stub/src").glob("*_s8.c"))]
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", *(SANITIZERS if request.param == "sanitized" else ())]
    includes = [f"-I{ROOT / 'firmware_stub' / name}" for name in ("include", "src")]
    subprocess.run(["gcc", *flags, *includes, "-o", folder / "driver", *sources], check=True)

    def run(cases: bytes) -> bytes:
        (folder / "cases.bin").write_bytes(cases)
        subprocess.run([folder / "driver", "cases.bin", "results.bin"], cwd=folder, check=True, capture_output=True)
        return (folder / "results.bin").read_bytes()

    return run
