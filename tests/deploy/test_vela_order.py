"""Every order is a permutation of the weights with zeros filled in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.vela_order import ORDERS, SPARSE_FORMAT, stream_order, stream_positions


@given(
    stream=st.sampled_from([(name, kind) for name, order in sorted(ORDERS.items()) for kind in order.formats]),
    outputs=st.integers(1, 70),
    inputs=st.integers(1, 70),
    kernel=st.sampled_from([1, 3]),
    block_depth=st.sampled_from([8, 16, 32, 64]),
    part_kernel_first=st.booleans(),
    stride=st.sampled_from([1, 2]),
)
def test_every_weight_stands_in_the_stream_exactly_once(
    stream, outputs, inputs, kernel, block_depth, part_kernel_first, stride
):
    order = stream_order(*stream)
    positions = stream_positions(
        (outputs, kernel, kernel, inputs),
        order,
        block_depth=block_depth,
        part_kernel_first=part_kernel_first,
        stride=stride,
    )
    places = np.sort(positions[positions >= 0])
    assert np.array_equal(places, np.arange(outputs * kernel * kernel * inputs))


def test_depth_first_takes_all_input_channels_of_an_element_first():
    order = stream_order("ethos-u55-128", 0)
    positions = stream_positions((8, 1, 2, 8), order, block_depth=8, part_kernel_first=False, stride=1)
    # 8 outputs x 8 inputs of element 0, then three groups of filled-up inputs, then element 1
    expected = [(output * 2 + 0) * 8 + channel for output in range(8) for channel in range(8)]
    assert positions[:64].tolist() == expected
    assert (positions[64:256] == -1).all()
    assert positions[256] == 8


@pytest.mark.parametrize(("stride", "elements"), [(1, [0, 1, 2, 5, 4, 3, 6, 7, 8]), (2, [0, 2, 8, 6, 1, 7, 3, 5, 4])])
def test_ethos_u85_reads_rows_to_and_fro_and_stride_two_by_phases(stride, elements):
    order = stream_order("ethos-u85-256", 0)
    positions = stream_positions((8, 3, 3, 16), order, block_depth=8, part_kernel_first=True, stride=stride)
    first = positions[positions >= 0].reshape(9, 2, 8, 8)[:, 0, 0, 0]  # output 0, input 0 of each element
    assert (first // 16).tolist() == elements


def test_an_unknown_accelerator_or_format_has_no_order():
    assert stream_order("ethos-u85-2048", 0) is None
    assert stream_order("ethos-u85-256", 1) is None
    assert stream_order("ethos-u55-128", SPARSE_FORMAT) is None
