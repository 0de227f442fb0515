"""The firmware under emulation: the same bits on every core, and each broken memory rule caught."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from convert import reference
from convert.c_source import write_c_model
from deploy.elf_symbols import read_elf
from deploy.firmware_build import FirmwareMemory, build_firmware
from tests.firmware_stub.example_model import FOLDER, ROOT, example_model, write_example
from tests.need import need
from tests.random_models import random_images, random_model

# core: machine, and a chip smaller than the machine: 96 KiB takes two PMSAv7 regions
CORES = {
    "cortex-m3": ("mps2-an385", FirmwareMemory(0x00000000, 0x40000, 0x20000000, 0x18000)),
    "cortex-m4": ("netduinoplus2", FirmwareMemory(0x08000000, 0x100000, 0x20000000, 0x20000)),
    "cortex-m7": ("mps2-an500", FirmwareMemory(0x00000000, 0x80000, 0x20000000, 0x50000)),
    "cortex-m33": ("mps2-an505", FirmwareMemory(0x10000000, 0x80000, 0x38000000, 0x18000)),
    "cortex-m55": ("mps3-an547", FirmwareMemory(0x00000000, 0x80000, 0x20000000, 0x40000)),
}
MODEL = random_model(11, input_hwc=(9, 7, 3), widths=(5, 8, 6), strides=(2, 1, 2), bit_widths=(8, 4, 3), classes=7)
MEM_MANAGE, USAGE_FAULT = 104, 106  # 100 + IPSR


@pytest.fixture(scope="module", params=sorted(CORES))
def firmware(request, tmp_path_factory):
    """(core, machine, folder with repedge.elf and repedge_probe.elf) of the random model."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    machine, memory = CORES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    write_c_model(MODEL, folder / "model", source_hash="test")
    build_firmware(folder / "model", request.param, folder, memory=memory, probe=True)
    return request.param, machine, folder


def _emulate(machine, elf):
    command = ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", elf.name]
    return subprocess.run(command, cwd=elf.parent, capture_output=True, text=True, timeout=60, check=False)


def test_firmware_equals_the_reference_and_reports_its_stack(firmware):
    _, machine, folder = firmware
    images = random_images(np.random.default_rng(3), 12, MODEL.input_hwc)
    (folder / "images.bin").write_bytes(images.tobytes())
    result = _emulate(machine, folder / "repedge.elf")
    assert result.returncode == 0, result.stderr
    logits = np.frombuffer((folder / "logits.bin").read_bytes(), np.int8).reshape(-1, 7)
    assert np.array_equal(logits, reference.run(MODEL, images))
    facts = dict(fact.split("=") for fact in result.stderr.removeprefix("repedge: ").split())
    assert facts["images"] == "12"
    assert 0 < int(facts["stack_used_bytes"]) < int(facts["stack_bytes"]) == 2048


@pytest.mark.parametrize(
    "rule", ["overflow of the stack", "higher than the RAM", "lower than the stack", "flash written", "x: RAM executed"]
)
def test_broken_memory_rule_is_caught(firmware, rule):
    core, machine, folder = firmware
    (folder / "probe.bin").write_text(rule[0])
    result = _emulate(machine, folder / "repedge_probe.elf")
    # Armv8-M has a stack limit register of its own, which raises a UsageFault
    stack_limit = rule[0] == "o" and core in ("cortex-m33", "cortex-m55")
    assert result.returncode == (USAGE_FAULT if stack_limit else MEM_MANAGE), result.stderr
    assert "fault ipsr=" in result.stderr


def test_last_byte_of_the_ram_is_allowed(firmware):
    _, machine, folder = firmware
    (folder / "probe.bin").write_text("n")
    assert _emulate(machine, folder / "repedge_probe.elf").returncode == 0


def test_firmware_holds_no_heap_and_no_soft_float(firmware):
    symbols = set(read_elf(firmware[2] / "repedge.elf").symbols)
    assert "prof_mark" in symbols
    assert not {"malloc", "_malloc_r", "_sbrk", "_sbrk_r"} & symbols
    assert not [name for name in symbols if name.startswith(("__aeabi_f", "__aeabi_d"))]


def test_images_of_a_wrong_length_are_refused(firmware):
    _, machine, folder = firmware
    (folder / "images.bin").write_bytes(bytes(9 * 7 * 3 + 1))
    assert _emulate(machine, folder / "repedge.elf").returncode == 3


def test_committed_example_model_is_what_the_writer_writes(tmp_path):
    write_example(tmp_path)
    for name in ("model_data.c", "model_data.h"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()


def test_firmware_builds_alone_with_its_example_model_and_sanitizers(tmp_path):
    need("cmake")
    configure = ["cmake", "-S", ROOT / "firmware_stub", "-B", tmp_path, "-DREPEDGE_SANITIZE=ON"]
    for command in (configure, ["cmake", "--build", tmp_path]):
        subprocess.run(command, check=True, capture_output=True)
    images = random_images(np.random.default_rng(4), 9, example_model().input_hwc)
    (tmp_path / "images.bin").write_bytes(images.tobytes())
    subprocess.run(
        [tmp_path / "repedge_host", "images.bin", "logits.bin"], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "logits.bin").read_bytes() == reference.run(example_model(), images).tobytes()
