"""MimicNorm (arXiv 2010.09278): training without branch norms, of which the merged kernel carries no σ at all.

1. Weight mean: after every optimizer step W ← W − mean(W over in, kh, kw) per output channel, for kernels with more
   than 50 weights per output channel.
2. Last BN: one BatchNorm1d without affine on the logits (`train.model.Classifier`), folded into the classifier.
3. Start: kernels N(0, 2.8 / n), n = in · k². A block has two branches with kernels, each scaled by 1/√2, so that
   their sum has the variance of one. With an identity branch the kernels' branches start at 1/√l times that
   (l = running number of such blocks; the paper's text), the identity at 1. For RepVGG this is our reading:
   the paper treats straight and residual nets, a RepVGG block is both.
"""

from __future__ import annotations

import math

import torch
from torch import nn

WEIGHT_VARIANCE = 2.8
SMALLEST_FAN_IN = 50  # weight mean is skipped up to here (the authors' code)


@torch.no_grad()
def start_kernel(conv: nn.Conv2d) -> None:
    """N(0, 2.8 / n), and zero mean where the weight mean applies."""
    fan_in = conv.weight[0].numel()
    conv.weight.normal_(0.0, math.sqrt(WEIGHT_VARIANCE / fan_in))
    subtract_weight_mean(conv)


@torch.no_grad()
def subtract_weight_mean(conv: nn.Conv2d) -> None:
    """In place: every output channel's kernel gets mean 0."""
    if conv.weight[0].numel() > SMALLEST_FAN_IN:
        conv.weight.sub_(conv.weight.mean(dim=(1, 2, 3), keepdim=True))


def branch_start(identity_number: int | None) -> float:
    """Start of the scale of each branch that has a kernel; `identity_number` counts from 1, None = no identity."""
    return math.sqrt(0.5) if identity_number is None else math.sqrt(0.5 / identity_number)
