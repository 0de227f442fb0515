"""Activation quantizers: unsigned levels from zero, which is ReLU as well."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import ActivationQuantizerConfig
from train.errors import UnsupportedLayer
from train.quantizer import SMALLEST_SCALE, ScaledLevels

# Δ / sqrt(2·E[x²]) of least squared error for rectified normal activations (UniQ, from the authors' code)
HALF_NORMAL_STEP = {2: 0.6508, 3: 0.3534, 4: 0.1932, 5: 0.1055, 6: 0.05727, 7: 0.03087, 8: 0.01653}


class LsqActivationQuantizer(nn.Module):
    """Unsigned LSQ per tensor: levels 0 … 2^b − 1 times `scale` (a scalar parameter); negative values become 0.

    x̂ = s · round(clip(x / s, 0, 2^b − 1)) with LSQ's gradients. `method` is the scale's start, see
    `ActivationQuantizerConfig`. Of LSQ+'s x̂ = s·round(clip((x − β)/s)) + β the start by least squared error is kept;
    β is 0, because ReLU's lowest value is and the integer model clamps at level 0.
    """

    is_integer = True

    def __init__(self, bit_width: int, method: str = "lsq_plus") -> None:
        super().__init__()
        self.bit_width, self.method = bit_width, method
        self.highest = 2**bit_width - 1
        self.scale = nn.Parameter(torch.tensor(1.0))

    @torch.no_grad()
    def initialise(self, activations: Tensor) -> None:
        """The first scale, from ReLU's outputs."""
        sample = activations.reshape(-1)
        if self.method == "lsq":
            self.scale.copy_((2 * sample.mean() / math.sqrt(self.highest)).clamp_min(1e-6 / self.highest))
        elif self.method == "uniq":
            size = (2 * sample.square().mean()).sqrt()
            self.scale.copy_((HALF_NORMAL_STEP[self.bit_width] * size).clamp_min(1e-6 / self.highest))
        else:
            self.scale.copy_(self._least_squares_scale(sample))

    def _least_squares_scale(self, sample: Tensor) -> Tensor:
        """The scale with the least squared error on these activations, out of 40 clipping points."""
        largest = sample.max().clamp_min(1e-6)
        scales = [largest * share / self.highest for share in torch.linspace(0.05, 1.0, 40).tolist()]
        errors = [float((self._round(sample, scale) * scale - sample).square().mean()) for scale in scales]
        return scales[int(np.argmin(errors))]

    @torch.no_grad()
    def settle(self) -> None:
        """Store the scale as forward uses it."""
        self.scale.copy_(self.current_scale())

    def current_scale(self) -> Tensor:
        """The scale as forward uses it, > 0."""
        return self.scale.abs().clamp_min(SMALLEST_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        x, scale = x.to(self.scale.dtype), self.current_scale()
        gain = 1 / math.sqrt(x[0].numel() * self.highest)
        level = self._round(x.detach(), scale.detach())
        return ScaledLevels.apply(x, scale, level, 0, self.highest, gain, False, True)

    def _round(self, x: Tensor, scale: Tensor) -> Tensor:
        return torch.floor(x / scale + 0.5).clamp(0, self.highest)  # half up = half away from zero, as x > 0 matters


class FloatActivation(nn.Module):
    """`none`: plain ReLU in place of a quantizer; the control of the ablations."""

    is_integer = False
    bit_width = 32

    def initialise(self, activations: Tensor) -> None:
        """Nothing to start."""

    def settle(self) -> None:
        """Nothing to store."""

    def current_scale(self) -> Tensor:
        """There is none: an integer model cannot hold this."""
        raise UnsupportedLayer(
            "activations: quantize.activations.method none keeps them in float, allowed in a model to convert are lsq_plus, "
            "lsq and uniq; train with one of these"
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


ActivationQuantizer = LsqActivationQuantizer | FloatActivation


def make_activation_quantizer(config: ActivationQuantizerConfig) -> ActivationQuantizer:
    """The activation quantizer that the recipe's `quantize.activations` section names."""
    return FloatActivation() if config.method == "none" else LsqActivationQuantizer(config.bit_width, config.method)
