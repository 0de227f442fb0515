"""Packed indices: what is packed comes back, at every width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.packing import is_plain, pack_indices, packed_weight_bytes, row_bytes, unpack_indices


@given(bits=st.integers(1, 8), rows=st.integers(1, 5), count=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_unpacking_gives_the_packed_indices_back(bits, rows, count, seed):
    indices = np.random.default_rng(seed).integers(0, 2**bits, (rows, count), dtype=np.uint8)
    packed = pack_indices(indices, bits)
    assert packed.shape == (rows, row_bytes(count, bits))
    assert np.array_equal(unpack_indices(packed, bits, count), indices)


def test_bit_k_of_a_row_is_bit_k_mod_b_of_index_k_div_b():
    indices = np.array([[5, 2, 7]], np.uint8)
    stream = sum(int(value) << (3 * k) for k, value in enumerate(indices[0]))
    assert pack_indices(indices, 3).tobytes() == stream.to_bytes(2, "little")


def test_an_index_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit in 2 bits"):
        pack_indices(np.array([[4]], np.uint8), 2)


@given(bits=st.integers(2, 8), rows=st.integers(1, 40), count=st.integers(1, 400))
def test_a_layer_takes_the_form_of_fewer_bytes(bits, rows, count):
    with_codebook = rows * row_bytes(count, bits) + 2**bits
    fewest = min(with_codebook, rows * count) if bits >= 5 else with_codebook
    assert packed_weight_bytes(rows, count, bits) == fewest


@pytest.mark.parametrize(("bits", "weights"), [(7, 1024), (6, 256), (5, 86)])
def test_the_sizes_below_which_layers_are_plain_are_as_documented(bits, weights):
    assert is_plain(1, weights - 1, bits)
    assert not is_plain(1, weights + 8, bits)
