"""What the converter says of the Winograd kernels: order of the indices, scratch, which layers they take."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.kernel_cases import parse_layer, random_layer
from convert.kernel import pack_in_order, unpack_in_order
from convert.kernels import choose_kernels, kernel_choice
from convert.kernels_winograd import WINOGRAD_KERNELS, winograd_order
from deploy.kernel_runner import conv_shape
from tests.random_models import random_model

BY_NAME = {kernel.name: kernel for kernel in WINOGRAD_KERNELS}


def _layer(name, bit_width=4, **options):
    conv, value = random_layer(np.random.default_rng(5), parse_layer(name), bit_width, **options)
    return conv, conv_shape(conv, *value.shape[:2])


def test_order_takes_every_index_once_and_pairs_channels_two_apart():
    order = winograd_order(8, 12)
    assert np.array_equal(np.sort(order.reshape(-1)), np.arange(8 * 9 * 12))
    channel, tap = order % 12, order // 12
    assert (channel[:, 1::2] - channel[:, ::2] == 2).all()
    assert (tap[:, 1::2] == tap[:, ::2]).all()


@pytest.mark.parametrize("bit_width", range(2, 9))
def test_packed_indices_round_trip_at_the_same_size(bit_width):
    conv, _ = _layer("4x4x12-8s1", bit_width)
    packed = pack_in_order(conv.indices, bit_width, winograd_order)
    assert packed.size == conv.indices.size * bit_width // 8
    decoded = unpack_in_order(packed.reshape(-1), bit_width, winograd_order, conv.indices.shape)
    assert np.array_equal(decoded, conv.indices)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [("8x8x16-16s2", "stride"), ("8x8x6-16s1", "multiples of 4"), ("8x8x16-10s1", "multiples of 4")],
)
def test_layers_they_cannot_run_are_refused_with_the_reason(layer, reason):
    for kernel in WINOGRAD_KERNELS:
        assert reason in str(kernel.obstacle(*_layer(layer)))


def test_layers_whose_sums_are_not_proven_are_refused():
    conv, shape = _layer("8x8x128-8s1", 2)
    largest = dataclasses.replace(conv, codebook=np.full(1, 127, np.int8), indices=conv.indices * 0)
    assert "sums may reach" in str(BY_NAME["dsp_winograd4"].obstacle(largest, shape))
    assert BY_NAME["dsp_winograd2"].obstacle(largest, shape) is None  # 2 x 2 outputs leave more room


@pytest.mark.parametrize(
    ("name", "strip", "scratch_bytes"),
    [
        # table 1024, M 36 * 32, constants, U and V as int16: 36 positions of 16 x 16 weights and of 2 tiles
        ("dsp_winograd4", 16, 1024 + 1152 + 16 * 16 + 36 * 16 * 16 * 2 + 36 * 16 * 2 * 2),
        ("dsp_winograd4_halves", 4, 1024 + 1152 + 16 * 4 + 36 * 16 * 4 * 2 + 36 * 16 * 32 * 2),
    ],
)
def test_scratch_is_the_sum_of_its_parts(name, strip, scratch_bytes):
    conv, shape = _layer("32x32x16-16s1")
    assert kernel_choice(BY_NAME[name], conv, shape, strip).scratch_bytes == scratch_bytes


def test_choice_follows_the_arena_that_is_allowed():
    model = random_model(3, input_hwc=(32, 32, 4), widths=(16, 16), strides=(1, 1), bit_widths=(4, 4))
    roomy = choose_kernels(model, "cortex-m4")[1]
    tight = choose_kernels(model, "cortex-m4", ram_limit=48 * 1024)[1]  # 32 of them are the layer's input and output
    assert roomy.kernel.name.startswith("dsp_winograd4")
    assert tight.kernel.name.startswith("dsp_winograd4") and tight.scratch_bytes <= 16 * 1024
    assert tight.instructions > roomy.instructions
    assert choose_kernels(model, None)[1].kernel.name == "portable"


def test_only_with_the_whole_image_in_scratch_do_they_work_in_place():
    conv, shape = _layer("16x16x16-16s1")
    in_place = {name: kernel_choice(kernel, conv, shape, 4).in_place for name, kernel in BY_NAME.items()}
    assert {name for name, is_in_place in in_place.items() if is_in_place} == {
        "dsp_winograd2_whole",
        "dsp_winograd4_whole",
    }
    one_pair, its_shape = _layer("4x8x16-16s1")
    assert kernel_choice(BY_NAME["dsp_winograd4"], one_pair, its_shape, 8).in_place
