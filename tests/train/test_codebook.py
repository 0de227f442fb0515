"""k-means and the int8 grid."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.codebook import cluster_weights, codebook_entries, entries_on_grid, lloyd, mean_squared_error


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.integers(0, 254))
def test_entries_on_grid_ascend_hold_zero_and_stay_in_range(bit_width, seed, zero_index):
    entries = codebook_entries(bit_width)
    zero_index = min(max(zero_index, entries - 1 - 127), min(entries - 1, 127))
    centroids = torch.randn(entries, generator=torch.Generator().manual_seed(seed)) * 80
    grid = entries_on_grid(centroids, zero_index)
    assert (grid.diff() >= 1).all()
    assert grid[zero_index] == 0
    assert grid.abs().max() <= 127
    assert torch.equal(grid, grid.round())


def test_entries_already_on_the_grid_stay_where_they_are():
    entries = torch.tensor([-127.0, -5.0, 0.0, 1.0, 127.0])
    assert torch.equal(entries_on_grid(entries, 2), entries)


def test_four_separate_heaps_are_found():
    rng = np.random.default_rng(0)
    units = np.concatenate([centre + rng.normal(0, 0.1, 50) for centre in (-100, 0, 30, 120)])
    centroids, zero_index = cluster_weights(units, 4)
    np.testing.assert_allclose(centroids, [-100, 0, 30, 120], atol=0.1)
    assert centroids[zero_index] == 0


def test_a_few_far_outliers_get_an_entry_of_their_own():
    rng = np.random.default_rng(1)
    units = np.concatenate([rng.normal(0, 5, 4000), np.linspace(100, 127, 8)])
    centroids, _ = cluster_weights(units, 16)
    assert (centroids > 95).any()


def test_more_entries_than_weights_is_allowed():
    centroids, zero_index = cluster_weights(np.array([-3.0, 8.0]), 16)
    assert len(centroids) == 16
    assert centroids[zero_index] == 0


def test_lloyd_never_raises_the_error():
    ordered = np.sort(np.random.default_rng(2).normal(0, 30, 500))
    start = np.array([-60.0, -10, 0, 5, 80])
    errors = [mean_squared_error(ordered, lloyd(ordered, start, 2, iterations=count)) for count in (0, 1, 5, 50)]
    assert errors == sorted(errors, reverse=True)
