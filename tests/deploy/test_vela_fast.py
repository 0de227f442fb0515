"""Streams of Ethos-U85's fast format, put together by hand from the byte table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.vela_fast import decode_fast


def encode(values, *, plain, offset=0):
    """The format's bits as text, lowest first; the palette holds the values in the order of their appearance."""
    palette = [] if plain else list(dict.fromkeys(values))
    width = 8 if plain else 2 if len(palette) <= 4 else 4
    folded = [abs(value) << 1 | (value < 0) for value in palette] + [0] * (16 - len(palette))
    codes = [(value + offset) & 0xFF if plain else palette.index(value) for value in values]
    numbers = [(plain, 1), (width == 2, 1), (0, 102), (offset & 0xFF, 8), *((entry, 9) for entry in folded)]
    numbers += [(code, width) for code in codes]
    bits = [int(number) >> bit & 1 for number, size in numbers for bit in range(size)]
    return np.packbits(bits + [0] * (-len(bits) % 256), bitorder="little")


@given(st.lists(st.integers(-127, 127), max_size=300), st.integers(0, 3))
def test_plain_values_come_back(values, offset):
    assert decode_fast(encode(values, plain=True, offset=offset), len(values)).tolist() == [
        (value + offset + 128) % 256 - 128 - offset for value in values
    ]


@given(st.lists(st.integers(-255, 255), min_size=1, max_size=16, unique=True), st.randoms(use_true_random=False))
def test_palettes_of_up_to_16_entries_come_back(palette, random):
    values = [random.choice(palette) for _ in range(100)]
    assert decode_fast(encode(values, plain=False), 100).tolist() == values


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_cut_stream_is_a_value_error(size):
    stream = encode([5] * 40, plain=True)
    with pytest.raises(ValueError, match="bytes"):
        decode_fast(stream[:size], 40)
