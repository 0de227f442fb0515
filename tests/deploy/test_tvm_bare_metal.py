"""TVM's kernels in our firmware on emulated microcontrollers."""

from __future__ import annotations

import pytest

from convert.tvm_module import layer_constants
from deploy.backends import run_target
from deploy.targets import CortexMTarget, load_target
from tests.deploy.converted_models import converted_model
from tests.deploy.small_firmware import need
from tests.random_models import random_model
from train.errors import ConfigError


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_firmware_of_tvm_kernels_gives_the_logits_of_the_reference(core, tmp_path):
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "cc", "llvm-objdump")
    model = random_model(71, input_hwc=(8, 8, 3), widths=(8, 12), strides=(2, 1), bit_widths=(5, 4))
    converted = converted_model(model, tmp_path / "convert", images=3)

    [result] = run_target(converted, load_target(f"tvm-{core}"), tmp_path / "out", images=3)

    assert (result.backend, result.target["name"]) == (f"tvm_{core}", f"tvm-{core}")
    assert (result.exactness.images, result.exactness.logits_mismatched) == (3, 0)
    layers = result.target["layers"]
    assert sum(layer["instructions"] for layer in layers) == result.target["instructions"]
    for conv, layer in zip(model.convs, layers, strict=False):
        assert layer["flash_bytes"] > sum(array.nbytes for array in layer_constants(conv).values())
    assert result.target["stack_used_bytes"]["paint"] <= result.target["ram_bytes"]["stack"]


def test_tvm_before_a_target_changes_its_kernels_only():
    own, tvm = load_target("nucleo-f446re"), load_target("tvm-nucleo-f446re")

    assert isinstance(own, CortexMTarget)
    assert tvm == own.model_copy(update={"name": "tvm-nucleo-f446re", "engine": "tvm"})


def test_tvm_before_an_arm_linux_target_is_refused():
    with pytest.raises(ConfigError, match="cortex-a53 is no microcontroller"):
        load_target("tvm-cortex-a53")
