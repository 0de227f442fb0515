"""Weights that swing between two codebook entries: counted, and held where they swing too often.

With a straight-through gradient a latent weight near the boundary of two entries crosses it back and forth, and the
net's kernels keep jumping at any learning rate. Iterative weight freezing (Nagel et al. 2022, arXiv 2203.11086) holds
such a weight for good at its average place. There a weight is rounded to a uniform level; here its place is the index
of its entry, which ascends with the entry's value.

A net of nothing but 8-bit layers holds nothing: entries lie so close that ordinary learning turns back and forth between them too,
and most of the net would stop learning for a jump that rounding at the end makes as well.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from train.config import WeightQuantizerConfig

FINEST_HELD = 7  # bits: docs/training.md, "Weights that swing", has the figures for 8
MOMENTUM = 0.01  # of both moving averages
START_FACTOR = 4.0  # the threshold falls from this multiple of its last value, as in the paper (0.04 to 0.01)
HOLD_FROM = 0.1  # share of the phase in which nothing is held: averages are young, codebooks still move


def holds_weights(config: WeightQuantizerConfig) -> bool:
    """Whether weights are held in a net of this recipe: its threshold is set, and a layer of it is narrow enough."""
    narrowest = min(config.bit_width, config.first_bit_width, config.last_bit_width, *config.layers.values())
    return config.oscillation_threshold is not None and narrowest <= FINEST_HELD


class OscillationHold(nn.Module):
    """Moving averages of every weight's turns and of its index, and which weights are held."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.threshold = math.inf  # turns per step above which a weight is held; `annealed_threshold` sets it
        self.register_buffer("turn_rate", torch.zeros(shape))
        self.register_buffer("position", torch.zeros(shape))
        self.register_buffer("direction", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("held", torch.zeros(shape, dtype=torch.bool))

    @torch.no_grad()
    def start(self, indices: Tensor) -> None:
        """Begin at these indices, nothing held."""
        self.position.copy_(indices)
        for buffer in (self.turn_rate, self.direction, self.held):
            buffer.zero_()

    @torch.no_grad()
    def follow(self, nearest: Tensor, previous: Tensor) -> Tensor:
        """One training step: `nearest` entries' indices, the last step's -> the indices to use, same shape."""
        indices = torch.where(self.held, previous, nearest)
        move = (indices.to(torch.int16) - previous.to(torch.int16)).sign().to(torch.int8)
        self.turn_rate.lerp_((move * self.direction < 0).to(self.turn_rate), MOMENTUM)
        self.position.lerp_(indices.to(self.position), MOMENTUM)
        self.direction.copy_(torch.where(move == 0, self.direction, move))
        caught = (self.turn_rate > self.threshold) & ~self.held
        self.held |= caught
        return torch.where(caught, self.position.round().to(indices), indices)


def annealed_threshold(final: float, share: float, *, until: float) -> float:
    """The threshold at a share of the phase: none at first, then a cosine from `START_FACTOR`·final to final at `until`."""
    if share < HOLD_FROM:
        return math.inf
    progress = min(1.0, (share - HOLD_FROM) / max(until - HOLD_FROM, 1e-9))
    return final * (1 + (START_FACTOR - 1) * 0.5 * (1 + math.cos(math.pi * progress)))
