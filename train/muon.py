"""Muon: momentum steps whose direction is orthogonalised, for convolution kernels with a norm behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# x ↦ a·x + b·x³ + c·x⁵ drives singular values in (0, 1] towards 1; steep at 0, so that three or four rounds do
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 3


def orthogonalise(matrices: Tensor) -> Tensor:
    """U·Vᵀ of each (N, rows, columns) matrix's singular value decomposition, approximately: all singular values near 1.

    Newton-Schulz iteration (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"); a singular
    value below a thousandth of the matrix's norm stays small, and a zero matrix stays zero.
    """
    a, b, c = QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(matrices.dtype).tiny)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    for _ in range(ROUNDS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum; groups with `orthogonal: True` hold kernels (O, ...), whose step is rate · U·Vᵀ of the step matrix.

    Such a kernel is scaled to Frobenius norm √O first: the norm behind it makes the net blind to its size, so the rate
    alone says how far a step turns it, and weight decay, which would do nothing else, is not applied.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step from the gradients that are there; no closure is taken."""
        assert closure is None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            steps = [self._momentum_step(parameter, group) for parameter in parameters]
            if group["orthogonal"]:
                steps = _orthogonal_steps(steps)
                for parameter in parameters:
                    parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.add_(step, alpha=-group["lr"])

    def _momentum_step(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """g + m·buffer, where buffer ← m·buffer + g and g holds the weight decay (not that of kernels)."""
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"] and not group["orthogonal"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer.mul_(group["momentum"]).add_(gradient)
        return gradient.add(buffer, alpha=group["momentum"])


def _orthogonal_steps(steps: list[Tensor]) -> list[Tensor]:
    """Each kernel's step as an (O, rest) matrix orthogonalised; kernels of one shape at once."""
    by_shape: dict[torch.Size, list[int]] = {}
    for number, step in enumerate(steps):
        by_shape.setdefault(step.shape, []).append(number)
    found: dict[int, Tensor] = {}
    for shape, numbers in by_shape.items():
        matrices = torch.stack([steps[number].reshape(shape[0], -1) for number in numbers])
        found |= {
            number: matrix.reshape(shape) for number, matrix in zip(numbers, orthogonalise(matrices), strict=True)
        }
    return [found[number] for number in range(len(steps))]
