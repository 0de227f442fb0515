"""The static memory plan: where each activation lies in the one arena, computed before anything is built.

Activations take turns at the two ends of the arena, so that a layer's input and output never touch; the kernel's
scratch lies in the gap between them. The arena is as large as the neediest layer, which no plan without in-place
layers can undercut. The logits are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from convert.integer_model import IntegerModel, LayerShape
from convert.kernel import KernelChoice
from convert.kernels import ALIGNMENT, choose_kernels


@dataclass(frozen=True)
class Placement:
    """One layer's bytes in the arena. The classifier's output lies outside it (`output_offset` 0, unused)."""

    shape: LayerShape
    input_offset: int
    output_offset: int
    scratch_offset: int
    choice: KernelChoice | None  # of a convolution

    @property
    def scratch_bytes(self) -> int:
        """What the layer's kernel works in."""
        return self.choice.scratch_bytes if self.choice else 0

    @property
    def input_bytes(self) -> int:
        """int8 activations in."""
        return prod(self.shape.input_hwc)

    @property
    def output_bytes(self) -> int:
        """int8 activations out."""
        return prod(self.shape.output_hwc)

    @property
    def arena_bytes(self) -> int:
        """What this layer alone needs of the arena, alignment included."""
        output = 0 if self.shape.kind == "fully_connected" else _align(self.output_bytes)
        return _align(self.input_bytes) + output + _align(self.scratch_bytes)


@dataclass(frozen=True)
class MemoryPlan:
    """Arena size, place of the input, and a placement per layer in the model's order."""

    arena_bytes: int
    input_offset: int
    placements: tuple[Placement, ...]


def plan_memory(model: IntegerModel, choices: tuple[KernelChoice, ...] | None = None) -> MemoryPlan:
    """The plan of a model with a kernel chosen per convolution; without `choices`, those that run everywhere.

    Even activations start at 0, odd ones end at the arena's end.
    """
    shapes = list(model.shapes())
    kernels = _per_layer(shapes, choices if choices is not None else choose_kernels(model, None))
    sizes = [prod(shape.input_hwc) for shape in shapes]
    arena_bytes = max(
        Placement(shape, 0, 0, 0, choice).arena_bytes for shape, choice in zip(shapes, kernels, strict=True)
    )  # offsets do not matter here
    offsets = [0 if k % 2 == 0 else arena_bytes - _align(size) for k, size in enumerate(sizes)] + [0]
    placements = []
    for k, (shape, choice) in enumerate(zip(shapes, kernels, strict=True)):
        lower = sizes[k] if k % 2 == 0 else prod(shape.output_hwc)
        placements.append(Placement(shape, offsets[k], offsets[k + 1], _align(lower) if choice else 0, choice))
    return MemoryPlan(arena_bytes, 0, tuple(placements))


def _per_layer(shapes: list[LayerShape], choices: tuple[KernelChoice, ...]) -> list[KernelChoice | None]:
    remaining = iter(choices)
    return [next(remaining) if shape.kind == "conv" else None for shape in shapes]


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
