"""The weights that enter the merge: each branch's kernel with its norm folded in, for the report's histograms.

`branches.safetensors`: float32 `<layer>.3x3` (OIHW), `<layer>.1x1` (OIHW) and, where the block has one, `<layer>.identity`
(O,), the values on the diagonal of the centre tap. Their sum, each at its place, is the merged kernel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from train.artefact import write_bytes
from train.model import RepVGG, RepVGGBlock

FILE_NAME = "branches.safetensors"


def branch_weights(network: RepVGG) -> dict[str, NDArray[np.float32]]:
    """Tensor name -> folded weights of every block's branches; the classifier has none."""
    tensors: dict[str, NDArray[np.float32]] = {}
    with torch.no_grad():
        for block in network.blocks:
            for branch, weight in _folded(block).items():
                tensors[f"{block.name}.{branch}"] = np.ascontiguousarray(weight.numpy(), np.float32)
    return tensors


def _folded(block: RepVGGBlock) -> dict[str, torch.Tensor]:
    post = torch.ones(block.conv3x3.out_channels) if block.post_norm is None else block.post_norm.merged()[0]
    scale3, scale1 = block.norm3x3.merged()[0], block.norm1x1.merged()[0]
    branches = {
        "3x3": (post * scale3)[:, None, None, None] * block.conv3x3.weight,
        "1x1": (post * scale1)[:, None, None, None] * block.conv1x1.weight,
    }
    if block.norm_identity is not None:
        branches["identity"] = post * block.norm_identity.merged()[0]
    return branches


def save_branches(tensors: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Write the file whole or not at all."""
    write_bytes(path, save(tensors))


def load_branches(folder: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Layer -> branch -> weights; empty where the folder is of a conversion that wrote none."""
    if not (folder / FILE_NAME).is_file():
        return {}
    layers: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, weight in sorted(load_file(folder / FILE_NAME).items()):
        layer, _, branch = name.rpartition(".")
        layers.setdefault(layer, {})[branch] = weight
    return layers
