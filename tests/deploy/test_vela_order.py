"""Every order is a permutation of the weights with zeros filled in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.vela_order import ACCELERATORS, FAST_BIT, SPARSE_BIT, U85_MACS, stream_order, stream_positions

MICRO_BLOCKS = {128: (2,), 256: (4,), 512: (4,), 1024: (4, 8), 2048: (4, 16)}  # pixels
KINDS = [(name, 0, 1) for name in sorted(ACCELERATORS - set(U85_MACS))] + [
    (name, weight_format, pixels)
    for name, macs in U85_MACS.items()
    for weight_format in (0, FAST_BIT, SPARSE_BIT)
    for pixels in MICRO_BLOCKS[macs]
]


@given(
    kind=st.sampled_from(KINDS),
    outputs=st.integers(1, 70),
    inputs=st.integers(1, 70),
    kernel=st.sampled_from([1, 3]),
    block_depth=st.sampled_from([8, 16, 32, 64]),
    part_kernel_first=st.booleans(),
    stride=st.sampled_from([1, 2]),
)
def test_every_weight_stands_in_the_stream_exactly_once(
    kind, outputs, inputs, kernel, block_depth, part_kernel_first, stride
):
    order = stream_order(*kind)
    positions = stream_positions(
        (outputs, kernel, kernel, inputs),
        order,
        block_depth=block_depth,
        part_kernel_first=part_kernel_first,
        stride=stride,
    )
    assert len(positions) == order.streams
    places = np.sort(np.concatenate([places[places >= 0] for places in positions]))
    assert np.array_equal(places, np.arange(outputs * kernel * kernel * inputs))


def test_depth_first_takes_all_input_channels_of_an_element_first():
    order = stream_order("ethos-u55-128", 0, 1)
    (positions,) = stream_positions((8, 1, 2, 8), order, block_depth=8, part_kernel_first=False, stride=1)
    # 8 outputs x 8 inputs of element 0, then three groups of filled-up inputs, then element 1
    expected = [(output * 2 + 0) * 8 + channel for output in range(8) for channel in range(8)]
    assert positions[:64].tolist() == expected
    assert (positions[64:256] == -1).all()
    assert positions[256] == 8


@pytest.mark.parametrize(("stride", "elements"), [(1, [0, 1, 2, 5, 4, 3, 6, 7, 8]), (2, [0, 2, 8, 6, 1, 7, 3, 5, 4])])
def test_ethos_u85_reads_rows_to_and_fro_and_stride_two_by_phases(stride, elements):
    order = stream_order("ethos-u85-256", 0, 4)
    (positions,) = stream_positions((8, 3, 3, 16), order, block_depth=8, part_kernel_first=True, stride=stride)
    first = positions[positions >= 0].reshape(9, 2, 8, 8)[:, 0, 0, 0]  # output 0, input 0 of each element
    assert (first // 16).tolist() == elements


def test_cores_share_a_micro_block_in_groups_of_four_on_u85_and_every_second_channel_on_u65():
    def first_outputs(accelerator, pixels, count):
        order = stream_order(accelerator, 0, pixels)
        positions = stream_positions((32, 1, 1, 8), order, block_depth=32, part_kernel_first=False, stride=1)
        return [[place // 8 for place in places[: 8 * count : 8]] for places in positions]

    assert first_outputs("ethos-u65-512", 1, 4) == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert first_outputs("ethos-u85-512", 4, 8) == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]


def test_an_unknown_accelerator_or_format_has_no_order():
    assert stream_order("ethos-u95-2048", 0, 1) is None
    assert stream_order("ethos-u85-256", 0x20, 4) is None
    assert stream_order("ethos-u55-128", SPARSE_BIT, 1) is None
