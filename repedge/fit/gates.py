"""CGMQ bit allocation: a trained gate per layer, driven by nothing but whether the cost bound is met.

Van Baelen and Karsmakers (arXiv 2409.20138) give the problem and the principle: while the bound is broken every gate
shrinks, while it is met they follow the task; no hyper-parameter trades loss for cost, and the bound holds in the end.
Their direction formula could not be read, so this one is ours (a reconstruction). With s the smoothed first-order
change of the task loss when a layer loses one bit (at the fewest: gains one), |⟨∂L/∂W_b, W_(b−1) − W_b⟩|, and s̄ its
geometric mean over layers:

    broken: gate −= rate · clip(s̄ / s)        what matters least shrinks fastest
    met:    gate += rate · clip(s / s̄)        what matters most grows fastest

A layer has round(gate) bits. Weights and biases train along (straight-through), from the float net.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from convert.float_network import FloatNetwork
from convert.lower import LayerPlan
from repedge.fit.post_trained import PostTrained
from repedge.fit.sensitivity import TorchNet
from repedge.fit.table import Allocation, Limits, Table, within_arena

BATCH = 64
TRAVEL_BITS = 15.0  # a gate of mean worth could move so far in all steps; a step's share falls to a tenth of the first
WEIGHT_RATE = 0.002
SMOOTHING = 0.9
SHARES = (0.2, 5.0)  # of a layer's direction


@dataclass(frozen=True)
class GateImages:
    """uint8 (N, H, W, C) and labels (N,) that the gates train on; `steps` batches in a seeded order."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    steps: int
    seed: int


@dataclass
class _Gates:
    """The gates and what is known of the layers' worth."""

    lowest: int
    highest: int
    values: NDArray[np.float64]
    worth: NDArray[np.float64] | None = field(default=None)

    def bits(self) -> list[int]:
        """Bit width of every layer."""
        return [int(bits) for bits in np.floor(self.values + 0.5)]

    def move(self, seen: NDArray[np.float64], rate: float, *, met: bool) -> None:
        """One step by what each layer's last bit was worth to the task."""
        self.worth = seen if self.worth is None else SMOOTHING * self.worth + (1 - SMOOTHING) * seen
        worth = np.maximum(self.worth, 1e-12)
        share = worth / np.exp(np.log(worth).mean())
        direction = np.clip(share, *SHARES) if met else -np.clip(1 / share, *SHARES)
        self.values = np.clip(self.values + rate * direction, self.lowest, self.highest)


def allocate_by_gates(
    merged: FloatNetwork,
    layers: PostTrained,
    table: Table,
    limits: Limits,
    data: GateImages,
    *,
    step_done: Callable[[], None] = lambda: None,
) -> Allocation | None:
    """The bits of the last step at which all limits were met; None where not even the fewest bits meet them."""
    options = within_arena(table, limits.arena_bytes)
    if any(not layer.options for layer in options):
        return None
    net, widths = TorchNet.of(merged), sorted(layers.plans)
    gates = _Gates(widths[0], widths[-1], np.full(len(options), float(widths[-1])))
    generator = torch.Generator().manual_seed(data.seed)
    kept: Allocation | None = None
    for step in range(data.steps):
        found = tuple(layer.at(bits) for layer, bits in zip(options, gates.bits(), strict=True))
        met = limits.fits(found)
        kept = found if met else kept
        batch = torch.randint(len(data.images), (BATCH,), generator=generator).numpy()
        worth = _train_step(net, layers, gates.bits(), data.images[batch], data.labels[batch])
        gates.move(worth, TRAVEL_BITS / data.steps * (1 - 0.9 * step / data.steps), met=met)
        step_done()
    return kept or _shrunk(options, limits, gates, TRAVEL_BITS / data.steps)


def _shrunk(options: Table, limits: Limits, gates: _Gates, rate: float) -> Allocation | None:
    """Where training ended before the bound was met: on down, until it is."""
    while True:
        found = tuple(layer.at(bits) for layer, bits in zip(options, gates.bits(), strict=True))
        if limits.fits(found):
            return found
        if gates.values.max() <= gates.lowest:
            return None
        assert gates.worth is not None
        gates.move(gates.worth, rate, met=False)


def _train_step(
    net: TorchNet, layers: PostTrained, bits: list[int], images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """One step of plain SGD on the quantized net; returns what the last bit of every layer was worth, (layers,)."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).div(255).contiguous()
    used = [
        quantize_like(weight, layers.plans[width][number]).requires_grad_()
        for number, (weight, width) in enumerate(zip(net.weights, bits, strict=True))
    ]
    biases = [bias.clone().requires_grad_() for bias in net.biases]
    running = TorchNet(used, biases, net.strides)
    F.cross_entropy(running.rest(0, x), torch.from_numpy(labels.astype(np.int64))).backward()
    worth = []
    for number, (weight, kernel, bias) in enumerate(zip(net.weights, used, biases, strict=True)):
        assert kernel.grad is not None and bias.grad is not None
        other = quantize_like(weight, layers.plans[_neighbour(bits[number], layers)][number])
        worth.append(float((kernel.grad * (other - kernel.detach())).sum().abs()))
        weight -= WEIGHT_RATE * kernel.grad
        net.biases[number] -= WEIGHT_RATE * bias.grad
    return np.array(worth)


def _neighbour(bits: int, layers: PostTrained) -> int:
    """One bit fewer; at the fewest one more, else a layer there would seem worth nothing and never grow again."""
    widths = sorted(layers.plans)
    return max((width for width in widths if width < bits), default=widths[min(1, len(widths) - 1)])


def quantize_like(weight: Tensor, plan: LayerPlan) -> Tensor:
    """OIHW or OI weights at the nearest entries of a plan's codebook, times its scale."""
    codebook = torch.from_numpy(plan.codebook.astype(np.float32))
    scale = torch.from_numpy(plan.weight_scale.astype(np.float32)).reshape(-1, *[1] * (weight.ndim - 1))
    indices = torch.bucketize(weight / scale, (codebook[1:] + codebook[:-1]) / 2, right=True)
    return codebook[indices] * scale
