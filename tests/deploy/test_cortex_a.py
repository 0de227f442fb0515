"""The TVM kernels on an emulated Cortex-A53."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from convert.tvm_module import layer_constants
from convert.tvm_schedule import default_schedule
from deploy.cortex_a import deploy_cortex_a
from deploy.targets import load_target
from tests.deploy.converted_models import converted_model
from tests.need import need
from tests.random_models import random_model
from train.errors import ToolMissing

IMAGES = 6


@pytest.fixture(scope="module")
def target():
    return load_target("cortex-a53")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    model = random_model(51, input_hwc=(9, 8, 3), widths=(8, 16, 10), strides=(2, 1, 1), bit_widths=(5, 4, 2))
    return converted_model(model, tmp_path_factory.mktemp("convert"), images=IMAGES + 2)


@pytest.fixture(scope="module")
def result(converted, target, tmp_path_factory):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64", "cc")
    return deploy_cortex_a(converted, target, tmp_path_factory.mktemp("a53"), images=IMAGES)


def test_logits_equal_the_reference(result):
    assert result.backend == "tvm_cortex-a53"
    assert (result.exactness.images, result.exactness.logits_mismatched) == (IMAGES, 0)


NETS = {
    "every bit width": {
        "input_hwc": (12, 8, 16),
        "widths": (16, 16, 16, 16, 16, 16, 16),
        "strides": (1, 1, 1, 1, 1, 2, 1),
        "bit_widths": (8, 7, 6, 5, 4, 3, 2),
    },
    "odd channels and sizes, windows copied together": {
        "input_hwc": (9, 11, 3),
        "widths": (8, 12, 20, 24, 6, 12),
        "strides": (1, 2, 1, 1, 1, 1),
        "bit_widths": (8, 4, 3, 2, 4, 4),
    },
    "per tensor, 4-bit activations": {
        "input_hwc": (8, 8, 1),
        "widths": (32, 32, 16),
        "strides": (1, 2, 1),
        "bit_widths": (8, 4, 4),
        "activation_bits": 4,
        "per_channel": False,
    },
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
@pytest.mark.parametrize("name", ["cortex-a7", "cortex-a53", "cortex-a72", "cortex-a76"])
def test_vector_schedules_give_the_logits_of_the_reference(name, net, tmp_path):
    target = load_target(name)
    need(target.compiler, target.emulator, "cc")
    converted = converted_model(random_model(52, **net), tmp_path / "convert", images=3)

    result = deploy_cortex_a(converted, target, tmp_path / "out", images=3)

    assert result.exactness.logits_mismatched == 0
    schedules = json.loads((tmp_path / "out" / "schedules.json").read_text())
    assert {schedule["vector"] for schedule in schedules.values()} >= {target.vector}


def test_layer_whose_channels_are_not_in_fours_gets_the_portable_kernel(converted):
    shapes = list(converted.model.shapes())

    schedules = [default_schedule(*pair, "neon") for pair in zip(converted.model.convs, shapes, strict=False)]

    assert [schedule.vector for schedule in schedules] == ["neon", "neon", "portable"]


def test_left_shifts_are_exact(target, tmp_path):
    model = random_model(53, input_hwc=(8, 8, 3), widths=(16, 16), strides=(1, 2), bit_widths=(4, 4))
    first = model.convs[0]
    steep = dataclasses.replace(first, weight_scale=first.weight_scale * np.float32(1000))
    assert (steep.requantization[1] > 0).any()
    converted = converted_model(
        dataclasses.replace(model, convs=(steep, model.convs[1])), tmp_path / "convert", images=3
    )

    result = deploy_cortex_a(converted, target, tmp_path / "out", images=3)

    assert result.exactness.logits_mismatched == 0


def test_layers_instructions_sum_to_the_inference(result, converted):
    layers = result.target["layers"]

    assert [layer["name"] for layer in layers] == [shape.name for shape in converted.model.shapes()]
    assert sum(layer["instructions"] for layer in layers) == result.target["instructions"]
    # the kernels are vectorised: below one instruction per multiply-accumulate where channels fill the lanes
    assert layers[1]["instructions"] < layers[1]["macs"]


def test_instructions_do_not_depend_on_the_images(result, converted, target, tmp_path):
    one = deploy_cortex_a(converted, target, tmp_path, images=1)

    assert one.target["instructions"] == result.target["instructions"]


def test_flash_and_ram_add_up(result, converted):
    flash, ram = result.target["flash_bytes"], result.target["ram_bytes"]

    assert flash["weights"] == converted.model.weight_bytes
    assert flash["code"] + flash["weights"] + flash["other"] == flash["total"]
    assert ram["arena"] + ram["static"] + ram["stack"] == ram["total"]
    assert 0 < ram["stack"] < 64 * 1024


def test_layers_flash_holds_its_constants(result, converted):
    for layer, entry in zip(converted.model.convs, result.target["layers"], strict=False):
        assert entry["flash_bytes"] > sum(array.nbytes for array in layer_constants(layer).values())


def test_cycles_are_instructions_over_the_range_of_instructions_per_cycle(result, target):
    cycles, instructions = result.target["cycles_estimated"], result.target["instructions"]

    assert cycles["low"] == round(instructions / target.instructions_per_cycle_high)
    assert cycles["high"] == round(instructions / target.instructions_per_cycle_low)
    assert cycles["low"] < cycles["mid"] < cycles["high"]
    assert result.target["latency_ms_estimated"]["high"] == cycles["high"] * 1000 / target.clock_hz


@pytest.mark.parametrize("field", ["emulator", "compiler"])
def test_missing_tool_is_named_and_nothing_is_written(converted, target, field, tmp_path):
    without = target.model_copy(update={field: "no-such-tool"})

    with pytest.raises(ToolMissing, match="no-such-tool"):
        deploy_cortex_a(converted, without, tmp_path / "out", images=1)
    assert not (tmp_path / "out").exists()
