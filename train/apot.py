"""APoT: additive powers of two (Li, Dong, Wang 2020, arXiv 1909.13144)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from train.codebook import GRID_MAX
from train.config import WeightQuantizerConfig
from train.quantizer import SMALLEST_SCALE, ScaledLevels, WeightQuantizer

START_ALPHA = 3.0  # in standard deviations of the kernel


def magnitudes(bits: int) -> list[int]:
    """The 2^bits magnitudes as whole numbers, ascending from 0, before they are put on the int8 grid.

    Each is a sum of ⌊bits/2⌋ terms out of {0, 2^−i, 2^−(i+n), …} and, for odd `bits`, one term out of {0, 2^−(2n+1)},
    with n = ⌊bits/2⌋; the powers follow one another without a gap (the authors' code).

    >>> magnitudes(2), magnitudes(3)
    ([0, 1, 2, 4], [0, 1, 2, 3, 4, 6, 8, 10])
    """
    terms, odd = bits // 2, bits % 2
    powers = 3 * terms + odd
    first = [[0, -i, -i - terms, -i - 2 * terms - odd] for i in range(1, terms + 1)]
    choices = [[0] + [2 ** (powers + e) for e in exponents[1:]] for exponents in first]
    if odd:
        choices.append([0, 2 ** (powers - 2 * terms - 1)])
    return sorted({sum(term) for term in itertools.product(*choices)})


def grid_levels(bit_width: int) -> list[int]:
    """Signed levels on the int8 grid, ascending, 0 among them: at most 2^bit_width − 1.

    Up to 6 bits the whole numbers of `magnitudes` fit as they are and APoT is exact. Beyond, the largest would not:
    magnitude · 127 / largest is rounded (half to even) and levels that fall together are one.

    >>> grid_levels(3)
    [-4, -2, -1, 0, 1, 2, 4]
    """
    positive = magnitudes(bit_width - 1)[1:]
    if positive[-1] > GRID_MAX:
        positive = sorted({round(GRID_MAX * value / positive[-1]) for value in positive} - {0})
    return [*(-value for value in reversed(positive)), 0, *positive]


class ApotWeightQuantizer(WeightQuantizer):
    """Ŵ = α·σ·Π(clip(W / (α·σ), −1, 1)): Π takes the nearest level, σ is the kernel's deviation, α trains.

    ∂Ŵ/∂α = σ·(Π(w) − w) inside, σ·sign(w) outside, times 1/√N (LSQ's remedy for the sum's size; ours). W gets its
    gradient straight through everywhere, as in the authors' code. They also subtract the kernel's mean, which the
    norm after the convolution gives back; a merged kernel has no such norm, so it is left in.
    """

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__(shape, bit_width, config)
        self.register_buffer("table", torch.tensor(grid_levels(bit_width), dtype=torch.float32), persistent=False)
        self.alpha = nn.Parameter(torch.full((self.scale_size,), START_ALPHA))
        self.register_buffer("deviation", torch.ones(self.scale_size))

    @torch.no_grad()
    def initialise(self, weight: Tensor) -> None:
        self.alpha.fill_(START_ALPHA)
        self._measure(weight)

    @torch.no_grad()
    def _measure(self, weight: Tensor) -> None:
        deviation = weight.reshape(self.scale_size, -1).std(dim=1, correction=0)
        self.deviation.copy_(deviation.clamp_min(SMALLEST_SCALE))

    def forward(self, weight: Tensor) -> Tensor:
        if self.training and not self.frozen:
            self._measure(weight)
        step = self.per_weight(self.current_scale(), weight)
        with torch.no_grad():
            if not self.frozen:
                middle = (self.table[1:] + self.table[:-1]) / 2
                self.indices.copy_(torch.bucketize((weight / step).contiguous(), middle))
            level = self.table[self.indices.long()]
        gain, top = 1 / math.sqrt(weight.numel() / self.scale_size), int(self.table[-1])
        return ScaledLevels.apply(weight, step, level, -top, top, gain, bool(self.frozen), False)

    def current_scale(self) -> Tensor:
        return (self.alpha.abs() * self.deviation / self.table[-1]).clamp_min(SMALLEST_SCALE / GRID_MAX)

    def levels(self) -> Tensor:
        return self.table
