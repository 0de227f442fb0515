"""What every weight quantizer is: a kernel becomes `codebook[indices] · scale`, bit for bit in float32 what it exports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.config import WeightQuantizerConfig
from train.oscillation import OscillationHold, holds_weights

SMALLEST_SCALE = 1e-8  # an all-zero kernel still has a scale > 0


@dataclass(frozen=True)
class ExportedWeights:
    """int8 codebook (K,), uint8 indices OIHW or OI, float32 scale (1,) or (O,): weight = codebook[indices] · scale."""

    codebook: NDArray[np.int8]
    indices: NDArray[np.uint8]
    scale: NDArray[np.float32]


class WeightQuantizer(nn.Module, ABC):
    """What all weight quantizers share: the indices of the last forward, which of them are held, and whether all are frozen."""

    can_hold: ClassVar[bool] = False  # whether forward keeps weights that `oscillation` holds

    def __init__(self, shape: tuple[int, ...], bit_width: int, config: WeightQuantizerConfig) -> None:
        super().__init__()
        self.bit_width = bit_width
        self.scale_size = shape[0] if config.per_channel_scale else 1
        self.register_buffer("indices", torch.zeros(shape, dtype=torch.uint8))
        self.register_buffer("frozen", torch.tensor(False))
        self.oscillation = OscillationHold(shape) if self.can_hold and holds_weights(config) else None

    @abstractmethod
    def initialise(self, weight: Tensor) -> None:
        """Set scale and codebook from a trained kernel."""

    def refresh(self, weight: Tensor) -> None:
        """Once per epoch while the codebook may still follow the kernel; nothing where entries do not move."""

    def start_holding(self, nearest: Tensor) -> None:
        """Begin to follow the indices from a trained kernel's."""
        if self.oscillation is not None:
            self.indices.copy_(nearest)
            self.oscillation.start(self.indices)

    def kept(self, nearest: Tensor) -> Tensor:
        """Indices of the nearest levels -> the indices to use: held weights keep theirs."""
        if self.oscillation is None:
            return nearest
        if self.training:
            return self.oscillation.follow(nearest.to(self.indices.dtype), self.indices)
        return torch.where(self.oscillation.held, self.indices, nearest.to(self.indices.dtype))

    @property
    def held(self) -> Tensor | None:
        """Which weights are held for good, or None where none can be."""
        return None if self.oscillation is None else self.oscillation.held

    def freeze(self) -> None:
        """From now on forward keeps the indices it last used."""
        self.frozen.fill_(True)

    @abstractmethod
    def current_scale(self) -> Tensor:
        """(1,) or (O,), > 0."""

    @abstractmethod
    def levels(self) -> Tensor:
        """The codebook as whole numbers (K,) in the weights' float type."""

    @torch.no_grad()
    def export(self) -> ExportedWeights:
        """The weights of the last forward."""
        return ExportedWeights(
            codebook=self.levels().cpu().numpy().astype(np.int8),
            indices=self.indices.cpu().numpy().copy(),
            scale=self.current_scale().detach().cpu().numpy().astype(np.float32),
        )

    def per_weight(self, scale: Tensor, weight: Tensor) -> Tensor:
        return scale.reshape(-1, *[1] * (weight.ndim - 1))  # (1,) or (O,) -> broadcasts over the kernel

    def max_magnitude(self, weight: Tensor) -> Tensor:
        """max|W| per tensor or per output channel, (1,) or (O,)."""
        return weight.detach().reshape(self.scale_size, -1).abs().amax(dim=1)


class ScaledLevels(torch.autograd.Function):
    """level · step, with LSQ's gradients (Esser et al. 2020): straight through inside the range, the step's scaled by `gain`.

    ∂(level · step)/∂step = level − x / step inside [lowest, highest], level outside. With `clips` False the gradient of
    `x` also passes outside the range. Where `fixed` (all, or a mask like `x`) x has no gradient and does not enter step's.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        step: Tensor,
        level: Tensor,
        lowest: int,
        highest: int,
        gain: float,
        fixed: bool | Tensor,
        clips: bool,
    ) -> Tensor:
        ctx.fixed = fixed if isinstance(fixed, bool) else None
        ctx.save_for_backward(x, step, level, *([] if isinstance(fixed, bool) else [fixed]))
        ctx.lowest, ctx.highest, ctx.gain, ctx.clips = lowest, highest, gain, clips
        return level * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step, level, *mask = ctx.saved_tensors
        rest = (None,) * 6
        if ctx.fixed:
            return None, sum_to(gradient * level, step) * ctx.gain, *rest
        learns = gradient.masked_fill(mask[0], 0) if mask else gradient
        ratio = x / step
        inside = learns * ((ratio >= ctx.lowest) & (ratio <= ctx.highest))
        slope = torch.addcmul(gradient * level, inside, ratio, value=-1)
        return inside if ctx.clips else learns, sum_to(slope, step) * ctx.gain, *rest


def sum_to(gradient: Tensor, step: Tensor) -> Tensor:
    """Sum over everything that `step` was broadcast along."""
    if step.numel() == 1:
        return gradient.sum().reshape(step.shape)
    return gradient.reshape(step.shape[0], -1).sum(dim=1).reshape(step.shape)
