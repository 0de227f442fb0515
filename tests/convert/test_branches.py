from __future__ import annotations

import numpy as np
import pytest
import torch

from convert.branches import FILE_NAME, branch_weights, load_branches, save_branches
from tests.train.small_networks import small_network
from train.config import NormConfig


@pytest.mark.parametrize("kind", ["oabn", "bn", "mimic", "qarep"])
def test_branches_sum_to_the_merged_kernel(kind, tmp_path):
    network = small_network(norm=NormConfig(kind=kind))
    save_branches(branch_weights(network), tmp_path / FILE_NAME)
    branches = load_branches(tmp_path)
    for block in network.blocks:
        with torch.no_grad():
            merged = block.merged_kernel()[0].numpy()
        total = branches[block.name]["3x3"].copy()
        total[:, :, 1, 1] += branches[block.name]["1x1"][:, :, 0, 0]
        if block.norm_identity is not None:
            diagonal = np.arange(len(total))
            total[diagonal, diagonal, 1, 1] += branches[block.name]["identity"]
        # each of three terms carries a few float32 roundings of its own magnitude
        largest = max(np.abs(weight).max() for weight in branches[block.name].values())
        np.testing.assert_allclose(total, merged, rtol=0, atol=12 * 2.0**-24 * largest)


def test_a_folder_without_branches_has_none(tmp_path):
    assert load_branches(tmp_path) == {}
