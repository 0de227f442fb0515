"""The library of TVM kernels on this machine."""

from __future__ import annotations

import dataclasses

import pytest
from elftools.elf.elffile import ELFFile

from convert.integer_model import IntegerModel
from deploy.tvm_build import LIBRARY_NAME, BuildTarget, build_library, host_target, verify_library
from deploy.tvm_glue import NAME, plan_memory
from deploy.tvm_host import run_tvm_host
from tests.deploy.converted_models import converted_model
from tests.need import need
from tests.random_models import random_model
from train.errors import ArtefactError, Mismatch, ToolMissing


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    return random_model(
        41, input_hwc=(9, 8, 3), widths=(7, 16, 10), strides=(1, 2, 1), bit_widths=(8, 4, 3), activation_bits=6
    )


@pytest.fixture(scope="module")
def converted(model, tmp_path_factory):
    return converted_model(model, tmp_path_factory.mktemp("convert"), images=100)


@pytest.fixture(scope="module")
def library(converted, tmp_path_factory):
    need("cc")
    return build_library(converted, host_target(), tmp_path_factory.mktemp("build"))


def test_every_logit_of_the_test_split_equals_the_reference(converted, tmp_path):
    need("cc")
    result = run_tvm_host(converted, tmp_path)

    assert result.backend == "tvm_host"
    assert result.exactness is not None
    assert result.exactness.logits_compared == 1000
    assert result.exactness.logits_mismatched == 0
    assert result.exactness.distinct_predictions > 3
    assert result.accuracy == {"top1": 100.0, "images": 100}


def test_build_is_equal_in_two_folders(library, converted, tmp_path):
    second = build_library(converted, host_target(), tmp_path)

    for name in (LIBRARY_NAME, f"{NAME}.h", f"{NAME}.c", "kernels.o", "runner"):
        assert (library.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_library_needs_no_tvm_and_exports_one_function(library):
    with (library.folder / LIBRARY_NAME).open("rb") as handle:
        symbols = list(ELFFile(handle).get_section_by_name(".dynsym").iter_symbols())
    defined = {symbol.name for symbol in symbols if symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS") and symbol.name}
    needed = {symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"}

    assert defined == {"repedge_run"}
    assert not [name for name in needed if "tvm" in name.lower()]


def test_constant_that_differs_in_the_library_is_a_mismatch_naming_the_layer(library, model):
    bias = model.convs[1].bias.copy()
    bias[0] += 1
    other = dataclasses.replace(
        model, convs=(model.convs[0], dataclasses.replace(model.convs[1], bias=bias), model.convs[2])
    )

    with pytest.raises(Mismatch, match="layer conv1: bias"):
        verify_library(library, other)


def test_buffers_that_live_together_do_not_overlap(library):
    plan = plan_memory(library.calls)
    sizes = [call.output.size_bytes for call in library.calls[:-1]]

    for number in range(1, len(sizes)):
        low, high = sorted((number - 1, number), key=lambda call: plan.outputs[call])
        assert plan.outputs[low] + sizes[low] <= plan.outputs[high]
    assert max(offset + size for offset, size in zip(plan.outputs, sizes, strict=True)) <= plan.arena_bytes


def test_missing_module_is_an_artefact_error(converted, tmp_path):
    need("cc")
    with pytest.raises(ArtefactError, match="run it again"):
        run_tvm_host(dataclasses.replace(converted, folder=tmp_path), tmp_path / "out")


def test_missing_compiler_is_named_and_nothing_is_written(converted, tmp_path):
    target = BuildTarget(host_target().options, "no-such-gcc")

    with pytest.raises(ToolMissing, match="no-such-gcc"):
        build_library(converted, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()
