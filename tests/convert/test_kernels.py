"""Kernels' orders lose no index, and the choice of kernels keeps to core, obstacles and limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.kernel_cases import random_layer
from convert.c_source import verify_c_model, write_c_model
from convert.integer_model import LayerShape, Quantization
from convert.kernel import pack_in_order, unpack_in_order
from convert.kernels import KERNELS, arena_bytes, choose_kernels, conv_choices
from convert.kernels_dsp import DSP_DIRECT, accumulator_bounds
from convert.memory_plan import plan_memory
from tests.random_models import random_model

MODEL = random_model(5, input_hwc=(9, 7, 3), widths=(8, 6, 12), strides=(1, 2, 1), bit_widths=(4, 3, 2))
CONVS = list(zip(MODEL.convs, (shape for shape in MODEL.shapes() if shape.kind == "conv"), strict=True))
CORES = (None, "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")


def _shape(conv, height=8, width=8):
    channels, _, _, in_channels = conv.indices.shape
    out = (*conv.output_size(height, width), channels)
    return LayerShape(conv.name, "conv", (height, width, in_channels), out, out[0] * out[1] * conv.indices.size)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("bit_width", [2, 3, 5, 8])
def test_packed_indices_are_read_back_whatever_the_order(kernel, bit_width):
    rng = np.random.default_rng(bit_width)
    for channels, in_channels in ((4, 4), (5, 8), (16, 12), (1, 16), (3, 3), (7, 1)):
        conv, _ = random_layer(rng, (4, 4, in_channels, channels, 1), bit_width)
        if kernel.obstacle(conv, _shape(conv)) is None:
            packed = pack_in_order(conv.indices, bit_width, kernel.order)
            found = unpack_in_order(packed.reshape(-1), bit_width, kernel.order, conv.indices.shape)
            assert np.array_equal(found, conv.indices)


def test_packed_indices_of_another_size_are_refused():
    packed = pack_in_order(np.zeros((4, 3, 3, 4), np.uint8), 4, DSP_DIRECT.order)
    assert unpack_in_order(packed.reshape(-1)[1:], 4, DSP_DIRECT.order, (4, 3, 3, 4)) is None


@pytest.mark.parametrize("core", CORES)
def test_chosen_kernels_run_on_their_core_and_have_no_obstacle(core):
    shapes = [shape for shape in MODEL.shapes() if shape.kind == "conv"]
    for conv, shape, choice in zip(MODEL.convs, shapes, choose_kernels(MODEL, core), strict=True):
        assert choice.kernel.runs_on(core)
        assert choice.kernel.obstacle(conv, shape) is None
        assert choice.scratch_bytes == choice.kernel.scratch_bytes(conv, shape, choice.strip_channels)


def test_without_a_core_and_for_flash_everything_is_portable():
    for choices in (choose_kernels(MODEL, None), choose_kernels(MODEL, "cortex-m4", prefer="flash")):
        assert {choice.kernel.name for choice in choices} == {"portable"}


def _plan(core="cortex-m4", **wishes):
    return plan_memory(MODEL, choose_kernels(MODEL, core, **wishes))


def _instructions(plan):
    return sum(placement.choice.instructions for placement in plan.placements if placement.choice)


def test_smallest_arena_is_the_neediest_layers_with_its_least_scratch():
    least = [
        min(arena_bytes(shape, choice) for choice in conv_choices(conv, shape, "cortex-m4")) for conv, shape in CONVS
    ]
    assert _plan(prefer="ram").arena_bytes == max(least)


def test_limit_is_kept_and_more_room_is_never_slower():
    smallest = _plan(prefer="ram").arena_bytes
    limits = [smallest, smallest + 500, smallest + 3000, smallest + 20000]
    plans = [_plan(ram_limit=limit) for limit in limits]
    assert all(plan.arena_bytes <= limit for plan, limit in zip(plans, limits, strict=True))
    counts = [_instructions(plan) for plan in plans]
    assert counts == sorted(counts, reverse=True)


def test_ram_takes_the_fastest_kernels_of_its_arena():
    plan = _plan(prefer="ram")
    for (conv, shape), placement in zip(CONVS, plan.placements, strict=False):
        able = [c for c in conv_choices(conv, shape, "cortex-m4") if arena_bytes(shape, c) <= plan.arena_bytes]
        assert placement.choice.instructions == min(choice.instructions for choice in able)


def test_layer_whose_output_is_finer_than_its_accumulator_is_an_obstacle():
    conv, _ = random_layer(np.random.default_rng(1), (4, 4, 4, 4, 1), 4)
    fine = dataclasses.replace(conv, output=Quantization(np.float32(1e-6), conv.output.zero_point))
    assert "finer" in DSP_DIRECT.obstacle(fine, _shape(fine))


def test_layer_whose_accumulator_may_reach_2_to_the_30_is_an_obstacle():
    conv, _ = random_layer(np.random.default_rng(1), (4, 4, 4, 4, 1), 4)
    room = int(2**30 - accumulator_bounds(dataclasses.replace(conv, bias=np.zeros(4, np.int32)))[2])
    for bias, obstacle in ((room - 1, False), (room, True)):
        large = dataclasses.replace(conv, bias=np.array([0, 0, -bias, 0], np.int32))
        assert (DSP_DIRECT.obstacle(large, _shape(large)) is not None) == obstacle


@pytest.mark.parametrize("core", CORES[1:])
def test_tables_for_a_core_are_read_back_equal(core, tmp_path):
    plan = plan_memory(MODEL, choose_kernels(MODEL, core))
    write_c_model(MODEL, tmp_path, source_hash="0123abcd", plan=plan)
    written = verify_c_model(MODEL, tmp_path, plan)
    assert [fields["convolve"] for fields in written.layers[:3]] == [
        placement.choice.kernel.function for placement in plan.placements[:3]
    ]
