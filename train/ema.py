"""An exponential moving average of a network: the weights that are evaluated and kept."""

from __future__ import annotations

import copy

import torch

from train.model import RepVGG


class MovingAverage:
    """`network` follows a live network; floats are averaged (statistics too), integers copied."""

    def __init__(self, live: RepVGG, decay: float) -> None:
        self.network: RepVGG = copy.deepcopy(live).eval()
        self.network.requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, live: RepVGG, *, step: int) -> None:
        """One step of the average; young averages forget faster, so that the start does not linger."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, sources = [], []
        for average, source in zip(self.network.state_dict().values(), live.state_dict().values(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                sources.append(source)
            else:
                average.copy_(source)
        torch._foreach_lerp_(averages, sources, 1 - decay)
