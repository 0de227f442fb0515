"""Predictions and accuracy of a network."""

from __future__ import annotations

import torch
from torch import Tensor

from train.model import RepVGG

BATCH = 500


def to_input(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> pixel / 255, float32, channels last (the fast layout on CPUs)."""
    return images.to(torch.float32).div(255).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(network: RepVGG, images: Tensor) -> Tensor:
    """(N, classes) in evaluation mode, batch by batch; `images` is uint8 (N, C, H, W)."""
    network.eval()
    return torch.cat([network(to_input(batch)) for batch in images.split(BATCH)])


def top1(network: RepVGG, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent."""
    correct = int((logits_of(network, images).argmax(dim=1) == labels).sum())
    return 100.0 * correct / len(labels)
