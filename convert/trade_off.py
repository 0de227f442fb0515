"""What RAM, instructions and flash a model can be traded for on a core: the choices of kernels that no other choice beats.

All figures are estimates of the planner's cost table but the arena's bytes, which are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from convert.integer_model import IntegerModel, QuantizedConv
from convert.kernel import ConvKernel, KernelChoice
from convert.kernel_code import kernel_code_bytes
from convert.kernels import (
    ALIGNMENT,
    arena_bytes,
    arena_steps,
    conv_choices,
    conv_layers,
    fastest_within,
    front,
)
from convert.packing import row_bytes
from convert.plain_kernels import plain_instructions

POINTS_MAX = 16
CLOSE = 1.01  # a point that is better by less than this factor in everything is not shown


@dataclass(frozen=True)
class TradeOff:
    """One choice: exact bytes of the arena, estimated instructions of an inference, estimated bytes of kernels and indices."""

    arena_bytes: int
    instructions: int
    flash_bytes: int
    kernels: tuple[str, ...]  # of the convolutions, in order


def plan_figures(model: IntegerModel, choices: Sequence[KernelChoice], core: str | None) -> TradeOff:
    """The figures of one choice per convolution."""
    layers = conv_layers(model)
    arena = max(arena_bytes(shape, choice) for (_, shape), choice in zip(layers, choices, strict=True))
    indices = sum(index_bytes(conv, choice.kernel) for (conv, _), choice in zip(layers, choices, strict=True))
    return _figures(choices, arena, indices, _plain_instructions(model, core))


def _figures(choices: Sequence[KernelChoice], arena: int, indices: int, plain: float) -> TradeOff:
    flash = kernel_code_bytes({choice.kernel.function for choice in choices}) + indices
    instructions = sum(choice.instructions for choice in choices) + plain
    return TradeOff(arena, round(instructions), flash, tuple(choice.kernel.name for choice in choices))


def trade_off_points(model: IntegerModel, core: str | None) -> tuple[TradeOff, ...]:
    """The choices that no other one beats in all three figures, by arena; at most `POINTS_MAX`, close ones left out."""
    found = set(_candidates(model, core))
    closeness = 1.0
    points = _unbeaten(found, closeness)
    while len(points) > POINTS_MAX:
        closeness *= CLOSE
        points = _unbeaten(found, closeness)
    return tuple(points)


def _candidates(model: IntegerModel, core: str | None) -> Iterator[TradeOff]:
    """For each set of kernel functions and each arena that matters, the fastest choice per layer."""
    layers = [(conv, shape, conv_choices(conv, shape, core)) for conv, shape in conv_layers(model)]
    kernels = {choice.kernel.name: choice.kernel for _, _, choices in layers for choice in choices}
    sizes = [{name: index_bytes(conv, kernel) for name, kernel in kernels.items()} for conv, _, _ in layers]
    functions = sorted({kernel.function for kernel in kernels.values()})
    plain = _plain_instructions(model, core)
    for allowed in (chosen for count in range(1, len(functions) + 1) for chosen in combinations(functions, count)):
        own = [[choice for choice in choices if choice.kernel.function in allowed] for _, _, choices in layers]
        fronts = [front(shape, choices) for (_, shape, _), choices in zip(layers, own, strict=True)]
        for arena in arena_steps(fronts) if all(fronts) else ():
            chosen = fastest_within(fronts, arena)
            indices = sum(size[choice.kernel.name] for size, choice in zip(sizes, chosen, strict=True))
            yield _figures(chosen, arena, indices, plain)


def _unbeaten(points: set[TradeOff], closeness: float) -> list[TradeOff]:
    """Points in order of their arena, without those that another one beats or comes close to in every figure."""
    kept: list[TradeOff] = []
    for point in sorted(points, key=lambda point: (point.arena_bytes, point.instructions, point.flash_bytes)):
        beaten = any(
            other.instructions <= closeness * point.instructions and other.flash_bytes <= closeness * point.flash_bytes
            for other in kept
        )
        if not beaten:
            kept.append(point)
    return kept


def index_bytes(conv: QuantizedConv, kernel: ConvKernel) -> int:
    """Of a layer's packed indices in a kernel's order, aligned."""
    rows, count = kernel.order(conv.indices.shape[0], conv.indices.shape[3]).shape
    return -(-rows * row_bytes(count, conv.bit_width) // ALIGNMENT) * ALIGNMENT


def _plain_instructions(model: IntegerModel, core: str | None) -> float:
    plain = [shape for shape in model.shapes() if shape.kind != "conv"]
    return sum(plain_instructions(shape, model.classifier.bit_width, core) for shape in plain)
