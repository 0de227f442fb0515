"""What a float net's merged kernels say of outliers: the largest identity scale and the kurtosis of every layer."""

from __future__ import annotations

from typing import Any

import torch

from train.model import RepVGG


@torch.no_grad()
def float_facts(network: RepVGG) -> dict[str, Any]:
    """`identity_scale_max` (|t| over all identity branches) and `kurtosis` {layer: fourth moment / variance²}."""
    scales = [
        block.norm_identity.merged()[0].abs().max() for block in network.blocks if block.norm_identity is not None
    ]
    return {
        "identity_scale_max": round(float(torch.stack(scales).max()), 4) if scales else None,
        "kurtosis": {block.name: round(_kurtosis(block.merged_kernel()[0]), 2) for block in network.blocks},
    }


def _kurtosis(weight: torch.Tensor) -> float:
    centred = weight.double() - weight.double().mean()
    return float((centred**4).mean() / (centred**2).mean().clamp_min(1e-300) ** 2)
