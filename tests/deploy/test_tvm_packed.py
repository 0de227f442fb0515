"""The library for TVM's own runtime."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import relax

from convert.reference import quantize_images
from deploy.targets import load_target
from deploy.tvm_build import build_library, cortex_a_target, host_target
from deploy.tvm_packed import PACKED_NAME, write_packed_library
from tests.deploy.converted_models import converted_model
from tests.deploy.small_firmware import need
from tests.random_models import random_model
from train.errors import ToolMissing

IMAGES = 4


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    model = random_model(81, input_hwc=(8, 8, 3), widths=(8, 16), strides=(2, 1), bit_widths=(5, 4))
    return converted_model(model, tmp_path_factory.mktemp("convert"), images=IMAGES)


def test_tvm_runtime_loads_the_host_library_and_gives_the_logits(converted, tmp_path):
    need("cc")
    build_library(converted, dataclasses.replace(host_target(), packed=True), tmp_path)

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(tmp_path / PACKED_NAME)), tvm.cpu())

    images = quantize_images(converted.vectors.images)
    logits = [machine["main"](tvm.runtime.tensor(image)).numpy() for image in images]
    assert np.array_equal(np.stack(logits), converted.vectors.logits)


def test_aarch64_build_has_one_and_the_same_bytes_again(converted, tmp_path):
    need("aarch64-linux-gnu-gcc")
    target = cortex_a_target(load_target("cortex-a53"))

    for name in ("a", "b"):
        build_library(converted, target, tmp_path / name)

    first, second = (tmp_path / name / PACKED_NAME for name in ("a", "b"))
    assert first.read_bytes()[18:20] == b"\xb7\x00"  # e_machine: AArch64
    assert first.read_bytes() == second.read_bytes()


def test_missing_compiler_is_named(tmp_path):
    with pytest.raises(ToolMissing, match="no-such-compiler"):
        write_packed_library(tvm.IRModule(), {"kind": "llvm"}, "no-such-compiler", tmp_path / PACKED_NAME)
