"""Mean-only batch norm (Salimans & Kingma 2016, arXiv 1602.07868, section 3) after the quantized convolutions of QAT.

A merged net has no norm left: when weights are rounded or jump to another level, the mean of a channel moves by the sum
of a hundred errors times inputs that are never negative, and every later layer sees it. In training the batch's mean
takes the running mean's place, so that no step moves a channel's mean but by its bias. Running mean and start merge
into the bias; on a target it costs nothing. (A whole batch norm would cost a scale per output channel.)

From `quantize.mean_norm_until` on the running means are fixed: once rates are small, a batch's mean adds only its noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOMENTUM = 0.1  # of the running mean, BatchNorm2d's


class MeanOnlyNorm(nn.Module):
    """y − mean(y) + start: `start_mean` (C,) is the channel's mean when QAT began, so that the norm begins as identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("start_mean", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.fixed = False  # whether training uses the running mean too; `guide_quantizers` says so before every step

    @torch.no_grad()
    def initialise(self, outputs: Tensor) -> None:
        """Begin at the convolution's outputs (N, C, H, W) before QAT."""
        mean = outputs.mean(dim=(0, 2, 3))
        self.start_mean.copy_(mean)
        self.running_mean.copy_(mean)

    def offset(self) -> Tensor:
        """What it adds to the bias, (C,), by the running mean."""
        return self.start_mean - self.running_mean

    def batch_offset(self, outputs: Tensor) -> Tensor:
        """What it adds to the bias, (C,), by the mean of outputs without a bias; the running mean follows."""
        mean = outputs.mean(dim=(0, 2, 3), dtype=self.running_mean.dtype)
        with torch.no_grad():
            self.running_mean.lerp_(mean, MOMENTUM)
        return self.start_mean - mean
