"""What deploy/slim_image.sh leaves in a container image: the libraries of every core that firmware is built for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.firmware_build import CORES, SOURCE
from tests.need import need

SCRIPT = Path(__file__).parents[2] / "deploy/slim_image.sh"


def slim(what: str, where: Path) -> None:
    subprocess.run(["sh", str(SCRIPT), what, str(where)], check=True, capture_output=True)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("core", [core for core in CORES if core != "host"])
def test_the_variant_of_every_core_is_kept(core, tmp_path):
    need("arm-none-eabi-gcc")
    text = (SOURCE / "CMakeLists.txt").read_text()
    (flags,) = re.findall(rf'STREQUAL "{core}"\).*\n\s*set\(CORE_FLAGS (.*)\)', text)
    command = ["arm-none-eabi-gcc", *flags.split(), "-print-multi-directory"]
    variant = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path / "usr/lib/arm-none-eabi/newlib"
    touch(
        folder / variant / "libc_nano.a",
        folder / "thumb/v7-a/nofp/libc.a",
        folder / "arm/v5te/libc.a",
        folder / "nano.specs",
    )
    slim("toolchains", tmp_path)
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert left == ["nano.specs", f"{variant}/libc_nano.a"]


def test_the_emulators_and_the_disassembler_that_deploy_calls_are_kept(tmp_path):
    programs = tmp_path / "usr/bin"
    touch(
        *(programs / f"qemu-{name}" for name in ("aarch64", "arm", "system-arm", "mips", "system-aarch64")),
        programs / "cmake",
    )
    touch(tmp_path / "usr/lib/llvm-14/bin/llvm-objdump", tmp_path / "usr/lib/llvm-14/bin/opt")
    slim("toolchains", tmp_path)
    assert sorted(path.name for path in programs.iterdir()) == ["cmake", "qemu-aarch64", "qemu-arm", "qemu-system-arm"]
    assert [path.name for path in (tmp_path / "usr/lib/llvm-14/bin").iterdir()] == ["llvm-objdump"]


def test_compilers_and_linkers_lose_link_time_optimisation_only(tmp_path):
    folders = [tmp_path / f"usr/lib/{name}/12" for name in ("gcc/x86_64-linux-gnu", "gcc-cross/aarch64-linux-gnu")]
    touch(*(folder / name for folder in folders for name in ("cc1", "cc1plus", "collect2", "lto1", "liblto_plugin.so")))
    touch(
        *(
            tmp_path / "usr/bin" / name
            for name in ("aarch64-linux-gnu-lto-dump-12", "aarch64-linux-gnu-gcc-12", "cpack")
        )
    )
    slim("toolchains", tmp_path)
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["cc1", "cc1plus", "collect2", "liblto_plugin.so"]
    assert [path.name for path in (tmp_path / "usr/bin").iterdir()] == ["aarch64-linux-gnu-gcc-12"]


def test_python_packages_lose_headers_and_tests_only(tmp_path):
    kept = [
        tmp_path / name
        for name in (
            "torch/bin/torch_shm_manager",
            "torch/__init__.py",
            "torch/include/torch/csrc/inductor/cpp_prefix.h",
            "numpy/testing/__init__.py",
            "onnx/backend/test/__init__.py",
        )
    ]
    gone = [
        tmp_path / name
        for name in ("torch/bin/test_jit", "torch/test/test_a", "numpy/core/tests/test_a.py", "tensorflow/include/a.h")
    ]
    touch(*kept, *gone)
    slim("python", tmp_path)
    assert all(path.exists() for path in kept) and not any(path.exists() for path in gone)
