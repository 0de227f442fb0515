"""One net from its checkpoint to its bits: quantize at every width, refuse what cannot be, measure, choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convert.float_network import FloatNetwork
from convert.kernels import Prefer
from convert.vectors import Vectors
from repedge.fit import allocate as allocation
from repedge.fit.allocate import Allocate
from repedge.fit.build_table import sizes_by_shape
from repedge.fit.firmware import Bench
from repedge.fit.gates import GateImages, allocate_by_gates
from repedge.fit.infeasible import Infeasible, refuse
from repedge.fit.nets import Net
from repedge.fit.post_trained import PostTrained, allowed_bit_widths, quantize_after_training
from repedge.fit.sensitivity import Losses, cross_entropy, joint_loss, measure_losses, relative_losses
from repedge.fit.table import Allocation, Limits, Table, loss_of
from repedge.fit.target_fit import Request, Solution, TargetFit, fit_model
from repedge.progress import Progress
from train.errors import BudgetExceeded
from train.model import CLASSIFIER

Method = Literal["exact", "greedy", "cgmq", "uniform"]
RANGE_IMAGES = 256  # of the activation ranges


@dataclass(frozen=True)
class Settings:
    """How to choose. `prefers`: what kernels are chosen for, in this order; with `any_prefer` the one of least loss."""

    method: Method = "exact"
    lowest_bits: int = 2
    highest_bits: int = 8
    images: int = 512
    rounds: int = 2  # of measuring around the choice so far and choosing again; exact only
    gate_steps: int = 300
    prefers: tuple[Prefer, ...] = ("speed", "ram", "flash")
    any_prefer: bool = False


@dataclass(frozen=True)
class Chosen:
    """A net with its bits. `predicted` and `joint` are divergences from the float net in nats, of one layer at a time summed
    and of all at once; `float_loss` is the float net's cross-entropy on validation images."""

    net: Net
    layers: PostTrained
    losses: Losses
    solution: Solution
    predicted: float
    joint: float
    float_loss: float

    @property
    def expected_loss(self) -> float:
        """Cross-entropy to expect, by which nets are compared: the float net's and what quantization adds."""
        return self.float_loss + self.joint


@dataclass(frozen=True)
class Prepared:
    """A net quantized at every bit width, and how its divergences are measured on calibration images."""

    net: Net
    layers: PostTrained
    images: NDArray[np.uint8]
    work: Path
    progress: Progress

    def losses(self, around: dict[str, int] | None = None) -> Losses:
        """Of each layer alone, or around a choice."""
        cache = self.work / f"sensitivity-{self.net.recipe.name}.jsonl"
        return measure_losses(
            self.net.merged, self.layers, self.images, cache, around=around, quiet=self.progress.quiet
        )


def prepare(net: Net, request: Request, settings: Settings, work: Path, progress: Progress) -> Prepared:
    """All that every method needs; `Infeasible` at once where the bytes cannot be met."""
    config = net.recipe.quantize
    widths = allowed_bit_widths(config, settings.lowest_bits, settings.highest_bits)
    refuse_by_size(net.merged, request, min(widths), per_channel=config.weights.per_channel_scale)
    images, _ = net.calibration(settings.images)
    with progress.step("fit", f"{net.recipe.name}: codebooks at {len(widths)} bit widths"):
        classes = net.dataset.class_names
        layers = quantize_after_training(net.merged, config, images[:RANGE_IMAGES], classes, widths)
    return Prepared(net, layers, images, work, progress)


def choose(prepared: Prepared, request: Request, settings: Settings) -> Chosen:
    """The best choice for one net; `Infeasible` where there is none.

    `exact` is no last word, because layers do not suffer independently: of its choice and greedy's the one is taken that
    loses less with all layers at once, and the choice is made again on losses measured around it, as long as that helps.
    """
    layers, progress = prepared.layers, prepared.progress
    fits = _feasible(prepared, request, settings)
    losses = prepared.losses()

    def solved(by: Allocate, measured: Losses) -> Chosen:
        return _chosen(prepared, losses, _solve(fits, layers, measured, request, by))

    chooser = allocator(prepared, settings)
    best = solved(chooser, losses)
    if settings.method != "exact" or not settings.rounds:
        return best
    best = min(best, solved(allocation.greedy, losses), key=lambda chosen: chosen.joint)
    for number in range(1, settings.rounds + 1):
        bits = best.solution.bits
        progress.say(f"  fit      round {number}: sensitivities around the choice, divergence {best.joint:.4g} nats")
        found = solved(chooser, relative_losses(prepared.losses(bits), bits, best.joint))
        if found.joint >= best.joint:
            break
        best = found
    return best


def _chosen(prepared: Prepared, losses: Losses, solution: Solution) -> Chosen:
    net, bits = prepared.net, solution.bits
    return Chosen(
        net=net,
        layers=prepared.layers,
        losses=losses,
        solution=solution,
        predicted=sum(losses[layer] for layer in bits.items()),
        joint=joint_loss(net.merged, prepared.layers, prepared.images, bits),
        float_loss=_float_loss(net),
    )


def refuse_by_size(merged: FloatNetwork, request: Request, bits: int, *, per_channel: bool) -> None:
    """Before any work: the encoder's bytes at the fewest bits depend on the layers' shapes alone."""
    names = [*(conv.name for conv in merged.convs), CLASSIFIER]
    sizes = sizes_by_shape(merged, dict.fromkeys(names, bits), per_channel=per_channel)
    smallest, worst = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    if request.weight_bytes is not None and smallest > request.weight_bytes:
        raise refuse("weight_bytes", request.weight_bytes, smallest, worst)


def bench_of(net: Net, request: Request, work: Path) -> Bench | None:
    """How firmware of this net is measured; None where the budget names no microcontroller."""
    if request.target is None:
        return None
    images, labels = net.dataset.test_images[:1], net.dataset.test_labels[:1]
    probe = Vectors(images, labels, np.zeros((1, len(net.dataset.class_names)), np.int8))
    return Bench(request.target, work / "firmware" / net.recipe.name, probe, request.counts)


def _feasible(prepared: Prepared, request: Request, settings: Settings) -> list[TargetFit]:
    """The preferences whose smallest firmware keeps the budget: all of them, or the first one that can.

    After a refusal only that preference is tried which could do better in the broken limit.
    """
    bench = bench_of(prepared.net, request, prepared.work)
    if bench is None:
        return []
    waiting, found, refused = list(settings.prefers), [], []
    while waiting:
        fit = TargetFit(prepared.layers, {}, request, waiting.pop(0), bench, _teller(prepared.progress))
        try:
            fit.check()
        except Infeasible as reason:
            refused.append(reason)
            if not settings.any_prefer:
                waiting = [prefer for prefer in waiting if prefer == _remedy(fit.prefer, reason.facts["limit"])]
            continue
        found.append(fit)
        if not settings.any_prefer:
            break
    if not found:
        # the least of the limit that the first preference breaks
        same = [reason for reason in refused if reason.facts["limit"] == refused[0].facts["limit"]]
        raise min(same, key=lambda reason: reason.facts["smallest_feasible"])
    return found


def _remedy(prefer: Prefer, limit: str) -> Prefer | None:
    """What could do better: `flash` has the least code, `speed` the fewest instructions; only `flash` may miss a smaller arena."""
    if limit == "ram_bytes":
        return "ram" if prefer == "flash" else None
    return "flash" if limit == "flash_bytes" else "speed"


def _teller(progress: Progress) -> Callable[[str], None]:
    return lambda text: progress.say(f"  fit      {text}")


def _solve(
    fits: list[TargetFit],
    layers: PostTrained,
    losses: Losses,
    request: Request,
    chooser: Allocate,
) -> Solution:
    """The solution of least loss; of equal ones the first preference's."""
    if request.target is None:
        return fit_model(layers, losses, request, chooser)
    solutions, refused = [], []
    for fit in fits:
        fit.losses = losses
        try:
            solutions.append(fit.run(chooser))
        except BudgetExceeded as reason:
            refused.append(reason)
    if not solutions:
        raise refused[0]
    return min(solutions, key=lambda solution: loss_of(solution.allocation))


def allocator(prepared: Prepared, settings: Settings) -> Allocate:
    """The function of the method's name."""
    net = prepared.net
    if settings.method == "exact":
        return allocation.exact
    if settings.method == "greedy":
        return allocation.greedy
    if settings.method == "uniform":
        return lambda table, limits: allocation.uniform(table, limits, net.recipe.quantize)

    def by_gates(table: Table, limits: Limits) -> Allocation | None:
        images, labels = net.split(validation=False)
        data = GateImages(images, labels, settings.gate_steps, net.recipe.seed)
        with prepared.progress.step("fit", f"{settings.gate_steps} steps of gates"):
            return allocate_by_gates(net.merged, prepared.layers, table, limits, data)

    return by_gates


def _float_loss(net: Net) -> float:
    images, labels = net.split(validation=True)
    if not len(labels):
        images, labels = net.calibration(512)
    return cross_entropy(net.merged, images[:2000], labels[:2000])
