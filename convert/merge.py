"""The exact merge: 3×3, 1×1 and identity branches with their norms become one 3×3 kernel, in float64.

The algebra is the training model's own `merged_kernel` (one definition for both); here it runs in float64 and is
proved on the spot against the unmerged branches.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from convert.float_network import FloatConv, FloatNetwork
from train.errors import Mismatch
from train.model import RepVGG, RepVGGBlock

# float64 carries 53 bits; a block sums at most 9·C products in each branch, so 1e-9 of the output's magnitude
# leaves a factor of a thousand over the rounding of a few thousand terms
RELATIVE_BOUND = 1e-9


def merge_network(network: RepVGG, input_hwc: tuple[int, int, int]) -> FloatNetwork:
    """The merged float64 net of a trained net; raises `Mismatch` where a block does not equal its branches."""
    exact = copy.deepcopy(network).double().eval()
    convs = []
    with torch.no_grad():
        for block in exact.blocks:
            weight, bias = block.merged_kernel()
            prove_block(block, weight, bias)
            convs.append(FloatConv(block.name, weight.numpy(), bias.numpy(), block.stride, block.groups))
        weight, bias = exact.classifier.merged()
        return FloatNetwork(input_hwc, tuple(convs), weight.numpy(), bias.numpy())


def prove_block(block: RepVGGBlock, weight: torch.Tensor, bias: torch.Tensor) -> float:
    """Largest difference, relative to the largest output, between a float64 block's branches and its merged kernel."""
    generator = torch.Generator().manual_seed(0)
    probe = torch.rand((2, weight.shape[1] * block.groups, 9, 9), generator=generator, dtype=torch.float64)
    branches = block.branch_sum(probe)
    merged = block.convolve(probe, weight, bias)
    # branches may cancel, so the scale is that of what is summed, not of the sum
    terms = block.convolve(probe, weight.abs(), bias.abs())
    relative = float(((branches - merged).abs() / terms.clamp(min=1e-300)).max())
    if not np.isfinite(relative) or relative > RELATIVE_BOUND:
        raise Mismatch(
            f"layer {block.name}: merged kernel differs from its branches by {relative:.3g} of the output, "
            f"allowed {RELATIVE_BOUND:g}; the checkpoint's batch-norm statistics are damaged, or this is a bug: report it"
        )
    return relative
