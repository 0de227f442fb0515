"""Optimal codebooks on the int8 grid, against exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.cluster import nearest_indices, optimal_codebook


def squared_error(values, codebook):
    return float(((values[:, None] - codebook[None].astype(float)) ** 2).min(axis=1).sum())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), entries=st.integers(1, 4))
def test_the_codebook_is_the_best_of_all_with_zero_in_it(seed, entries):
    values = np.random.default_rng(seed).normal(0, 3, 10)
    low, high = int(np.floor(values.min())) - 1, int(np.ceil(values.max())) + 2
    grid = [g for g in range(low, high) if g != 0]
    best = min(squared_error(values, np.array((0, *rest))) for rest in itertools.combinations(grid, entries - 1))
    codebook = optimal_codebook(values, entries)
    assert 0 in codebook
    assert len(codebook) <= entries
    assert squared_error(values, codebook) == pytest.approx(best, abs=1e-9)


def test_each_weight_goes_to_its_nearest_entry():
    codebook = np.array([-7, 0, 4], np.int8)
    values = np.array([-100.0, -3.6, -3.4, 1.9, 2.1, 90.0])
    assert nearest_indices(values, codebook).tolist() == [0, 0, 1, 1, 2, 2]


def test_eight_bits_hold_every_grid_value_that_occurs():
    values = np.arange(-127, 128).astype(float)
    assert optimal_codebook(values, 256).tolist() == list(range(-127, 128))
