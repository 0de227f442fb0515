from __future__ import annotations

import pytest

from deploy.elf_sizes import measure_elf, padded_weights
from deploy.elf_symbols import read_elf
from deploy.targets import load_target
from tests.deploy.small_firmware import build_small_firmware
from train.errors import ArtefactError


@pytest.fixture(scope="module")
def elf(tmp_path_factory):
    return build_small_firmware(load_target("cortex-m4"), tmp_path_factory.mktemp("small"))


def test_flash_counts_the_load_copy_of_data(elf):
    sizes = measure_elf(elf)
    assert sizes.flash.total == sizes.sections[".text"][0] + sizes.sections[".data"][0]
    assert sizes.sections[".data"] == (8, 8)


def test_weights_are_the_model_tables(elf):
    sizes = measure_elf(elf)
    assert padded_weights(read_elf(elf)) == {"model_conv0_indices": 40, "model_conv0_codebook": 16}
    assert sizes.flash.weights == 40 + 16


def test_code_excludes_tables_vectors_and_data(elf):
    sizes = measure_elf(elf)
    # .data 8 and vectors 32 are other; a string literal has no symbol and stays with the code
    assert sizes.flash.other == 8 + 32
    assert sizes.flash.code == sizes.sections[".text"][0] - 56 - 32


def test_ram_is_arena_stack_and_static(elf):
    sizes = measure_elf(elf)
    assert (sizes.ram.arena, sizes.ram.stack) == (256, 1024)
    assert sizes.ram.static == 64 * 4 + 8
    assert sizes.ram.total == 256 + 1024 + 256 + 8


def test_tables_are_read_back(elf):
    image = read_elf(elf)
    assert image.read(image.symbol("model_conv0_indices")) == bytes([1, 2, 3]) + bytes(37)


def test_a_file_that_is_no_elf_is_refused(tmp_path):
    path = tmp_path / "broken.elf"
    path.write_bytes(b"\x7fELF")
    with pytest.raises(ArtefactError, match="not an ELF file"):
        read_elf(path)
