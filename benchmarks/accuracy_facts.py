"""What a float net's merged kernels say of outliers: identity branches, and every layer's kurtosis and largest weight."""

from __future__ import annotations

from typing import Any

import torch

from train.model import RepVGG, RepVGGBlock
from train.norms import BatchNorm


@torch.no_grad()
def float_facts(network: RepVGG) -> dict[str, Any]:
    """Of the identity branches: `identity_ratio_max` max|γ/√(σ²+ε)| before any bound, `identity_scale_max` max|t| as merged.

    `kurtosis` {layer: fourth moment / variance²} and `peak` {layer: max|W| / standard deviation} of the merged kernels.
    """
    norms = [block.norm_identity for block in network.blocks]
    kernels = {block.name: block.merged_kernel()[0].double() for block in network.blocks}
    return {
        "identity_ratio_max": _largest([norm.ratio(norm.running_var) for norm in norms if isinstance(norm, BatchNorm)]),
        "identity_scale_max": _largest(
            [_identity(block) for block in network.blocks if block.norm_identity is not None]
        ),
        "kurtosis": {name: round(_kurtosis(weight), 2) for name, weight in kernels.items()},
        "peak": {name: round(_peak(weight), 2) for name, weight in kernels.items()},
    }


def _identity(block: RepVGGBlock) -> torch.Tensor:
    """What the identity branch adds to the merged kernel's diagonal, (C,)."""
    assert block.norm_identity is not None
    scale = block.norm_identity.merged()[0]
    return scale if block.post_norm is None else scale * block.post_norm.merged()[0]


def _largest(scales: list[torch.Tensor]) -> float | None:
    """max|scale| over all branches; None where there is none."""
    return round(max(float(scale.abs().max()) for scale in scales), 4) if scales else None


def _kurtosis(weight: torch.Tensor) -> float:
    centred = weight - weight.mean()
    return float((centred**4).mean() / (centred**2).mean().clamp_min(1e-300) ** 2)


def _peak(weight: torch.Tensor) -> float:
    return float(weight.abs().max() / weight.std(correction=0).clamp_min(1e-300))
