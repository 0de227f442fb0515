"""The host C back end: every logit of the test split equals the reference's, or the run is an error."""

from __future__ import annotations

import numpy as np
import pytest

from convert import reference
from convert.c_source import FOLDER_NAME, write_c_model
from convert.vectors import Vectors
from deploy.firmware_build import FirmwareMemory, build_firmware
from deploy.host_c import read_logits, run_host_c
from deploy.result import ConvertedModel
from tests.need import need
from tests.random_models import random_images, random_model
from train.errors import BudgetExceeded, ConfigError, Mismatch, ToolFailed, ToolMissing

HWC = (17, 13, 3)
MODEL = random_model(21, input_hwc=HWC, widths=(8, 12, 16, 16), strides=(1, 2, 1, 2), bit_widths=(8, 4, 3, 2))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    need("cmake")
    folder = tmp_path_factory.mktemp("convert")
    write_c_model(MODEL, folder / FOLDER_NAME, source_hash="test")
    images = random_images(np.random.default_rng(2), 150, HWC)
    vectors = Vectors(images, np.zeros(len(images), np.uint8), reference.run(MODEL, images))
    return ConvertedModel(folder, MODEL, vectors)


def test_every_logit_equals_the_reference(converted, tmp_path):
    result = run_host_c(converted, tmp_path)
    assert result.backend == "host_c"
    assert result.exactness.images == 150
    assert result.exactness.logits_mismatched == 0
    assert result.exactness.saturated_share < 0.5


def test_tables_of_another_model_are_refused(converted, tmp_path):
    other = random_model(22, input_hwc=HWC, widths=(8, 12, 16, 16), strides=(1, 2, 1, 2), bit_widths=(8, 4, 3, 2))
    with pytest.raises(Mismatch, match="conv0"):
        run_host_c(ConvertedModel(converted.folder, other, converted.vectors), tmp_path)


def test_logits_of_a_wrong_size_are_an_error(tmp_path):
    (tmp_path / "logits.bin").write_bytes(bytes(19))
    with pytest.raises(ToolFailed, match="19 bytes, allowed 20"):
        read_logits(tmp_path / "logits.bin", 2, 10)


def test_firmware_too_large_for_the_chip_names_region_and_bytes(converted, tmp_path):
    need("arm-none-eabi-gcc")
    small = FirmwareMemory(0x08000000, 0x1000, 0x20000000, 0x1000)
    with pytest.raises(BudgetExceeded, match=r"FLASH by \d+ bytes and RAM by \d+ bytes"):
        build_firmware(converted.folder / FOLDER_NAME, "cortex-m4", tmp_path, memory=small)


def test_two_builds_in_different_folders_give_the_same_elf(converted, tmp_path):
    need("arm-none-eabi-gcc")
    elves = [build_firmware(converted.folder / FOLDER_NAME, "cortex-m4", tmp_path / name) for name in ("a", "b/c")]
    assert elves[0].read_bytes() == elves[1].read_bytes()


def test_unknown_core_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="cortex-m33"):
        build_firmware(tmp_path, "cortex-m0", tmp_path)


def test_missing_tables_are_a_tool_error_that_names_the_folder(tmp_path):
    need("cmake")
    with pytest.raises(ToolFailed, match=r"no model_data\.c"):
        build_firmware(tmp_path / "nowhere", "host", tmp_path / "out")


def test_missing_compiler_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "arm-none-eabi-gcc" else f"/usr/bin/{tool}")
    with pytest.raises(ToolMissing, match="gcc-arm-none-eabi"):
        build_firmware(tmp_path, "cortex-m4", tmp_path)
