"""Each board's firmware links within the board's real memory, at its real addresses, and gives the reference's logits.

The objects are compiled once per core and linked once per board. `make test-boards` takes all cores, `make test` two.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from convert.c_source import write_c_model
from convert.kernels import choose_kernels
from convert.memory_plan import plan_memory
from convert.reference import run
from convert.vectors import Vectors
from deploy.armv6m import check_armv6m, check_listing
from deploy.cortex_a import deploy_cortex_a
from deploy.cortex_m import firmware_memory
from deploy.firmware_build import SOURCE, FirmwareMemory, build_firmware
from deploy.firmware_run import run_images
from deploy.targets import CortexATarget, CortexMTarget, load_target, target_names
from tests.deploy.converted_models import converted_model
from tests.need import need
from tests.random_models import random_images, random_model
from train.errors import Mismatch

ALL_CORES = bool(os.environ.get("REPEDGE_ALL_BOARDS"))
SAMPLE = ("cortex-m0plus", "cortex-m33")
TARGETS = [target for target in map(load_target, target_names()) if isinstance(target, CortexMTarget)]
BOARDS = [target for target in TARGETS if ALL_CORES or target.core in SAMPLE]


@pytest.fixture(scope="module")
def vectors():
    model = random_model(1)
    images = random_images(np.random.default_rng(2), 2, model.input_hwc)
    return Vectors(images, np.zeros(2, np.uint8), run(model, images))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Core -> the build folder of its objects."""
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "make")
    folder = tmp_path_factory.mktemp("boards")
    model = random_model(1)
    folders: dict[str, Path] = {}

    def build(core: str) -> Path:
        if core not in folders:
            plan = plan_memory(model, choose_kernels(model, core))
            write_c_model(model, folder / core / "c", source_hash="0" * 64, plan=plan)
            build_firmware(folder / core / "c", core, folder / core)
            folders[core] = folder / core / "build"
        return folders[core]

    return build


def link(build: Path, elf: Path, memory: FirmwareMemory) -> Path:
    """The command that linked `build`, with another memory map and output."""
    script = elf.with_suffix(".ld")
    text = (SOURCE / "port/cortex_m/link.ld.in").read_text()
    for name, value in memory.definitions().items():
        text = text.replace(f"@{name}@", value)
    script.write_text(text)
    command = shlex.split((build / "CMakeFiles/repedge.dir/link.txt").read_text())
    command[command.index("-o") + 1] = str(elf)
    scripts = [f"-T{script}" if word.startswith("-T") else word for word in command]
    subprocess.run(scripts, cwd=build, check=True, capture_output=True)
    return elf


@pytest.mark.parametrize("board", BOARDS, ids=lambda target: target.name)
def test_firmware_of_a_board_links_in_its_real_memory_and_gives_the_reference(board, built, vectors, tmp_path):
    build = built(board.core)
    real = FirmwareMemory(board.flash.origin, board.flash.size_bytes, board.ram.origin, board.ram.size_bytes)
    link(build, tmp_path / "real.elf", real)
    elf = link(build, tmp_path / "emulated.elf", firmware_memory(board))
    logits, _ = run_images(board, elf, tmp_path / "run", vectors=vectors)
    assert np.array_equal(logits, vectors.logits)


LINUX_BOARDS = ["raspberry-pi-4b", "stm32mp157c-dk2"]


@pytest.mark.parametrize(
    "name", [*LINUX_BOARDS, "raspberry-pi-3b", "raspberry-pi-5", "imx8mm-evk"] if ALL_CORES else LINUX_BOARDS
)
def test_kernels_of_a_linux_board_give_the_reference(name, tmp_path):
    target = load_target(name)
    assert isinstance(target, CortexATarget)
    need(target.compiler, target.emulator, "cc")
    (tmp_path / "convert").mkdir()
    converted = converted_model(random_model(1), tmp_path / "convert", images=2)
    result = deploy_cortex_a(converted, target, tmp_path / name, images=2)
    assert result.exactness is not None
    assert result.exactness.logits_mismatched == 0


def test_an_image_of_the_m0plus_holds_armv6m_instructions_only(built, tmp_path):
    assert check_armv6m(built("cortex-m0plus") / "repedge.elf", tmp_path / "listing.txt") > 500


@pytest.mark.parametrize("line", ["f000 8001 \tbeq.w\t8006", "b108      \tcbz\tr0, 8006", "bf08      \tit\teq"])
def test_an_opcode_beyond_armv6m_is_found(line):
    with pytest.raises(Mismatch, match="which a Cortex-M0"):
        check_listing(f"    8000:\t{line}\n", "x.elf")
