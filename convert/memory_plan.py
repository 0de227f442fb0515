"""The static memory plan: where each activation lies in the one arena, computed before anything is built.

Activations take turns at the two ends of the arena, so that a layer's input and output never touch; the kernel's
scratch lies in the gap between them. A kernel that works in place leaves its output at the end where its input lay. The
arena is as large as the neediest layer. The logits are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    def in_place(self) -> bool:
        """Whether the output lies where the input lay."""
        return self.choice is not None and self.choice.in_place

    @property
    def input_bytes(self) -> int:
        """int8 activations in."""
        return prod(self.shape.input_hwc)

    @property
    def output_bytes(self) -> int:
        """int8 activations out."""
        return prod(self.shape.output_hwc)

    @property
    def tensor_bytes(self) -> int:
        """Of the arena, for input and output, alignment included."""
        output = 0 if self.shape.kind == "fully_connected" else _align(self.output_bytes)
        return max(_align(self.input_bytes), output) if self.in_place else _align(self.input_bytes) + output

    @property
    def arena_bytes(self) -> int:
        """What this layer alone needs of the arena, alignment included."""
        return self.tensor_bytes + _align(self.scratch_bytes)


@dataclass(frozen=True)
class MemoryPlan:
    """Arena size, place of the input, and a placement per layer in the model's order."""

    arena_bytes: int
    input_offset: int
    placements: tuple[Placement, ...]


def plan_memory(model: IntegerModel, choices: tuple[KernelChoice, ...] | None = None) -> MemoryPlan:
    """The plan of a model with a kernel chosen per convolution; without `choices`, those that run everywhere.

    The image starts at 0; an activation lies at the other end than the one before, or at the same one if made in place.
    """
    shapes = list(model.shapes())
    kernels = _per_layer(shapes, choices if choices is not None else choose_kernels(model, None))
    alone = [Placement(shape, 0, 0, 0, choice) for shape, choice in zip(shapes, kernels, strict=True)]
    arena_bytes = max(placement.arena_bytes for placement in alone)  # offsets do not matter here
    placements = []
    offset, at_start = 0, True
    for placement in alone:
        input_offset, input_at_start = offset, at_start
        at_start = at_start == placement.in_place
        last = placement.shape.kind == "fully_connected"
        offset = 0 if at_start or last else arena_bytes - _align(placement.output_bytes)
        scratch_offset = _scratch_offset(placement, input_at_start) if placement.choice else 0
        placements.append(
            replace(placement, input_offset=input_offset, output_offset=offset, scratch_offset=scratch_offset)
        )
    return MemoryPlan(arena_bytes, 0, tuple(placements))


def _scratch_offset(placement: Placement, input_at_start: bool) -> int:
    """Scratch follows what lies at the arena's start: the input, the output, in place the larger one, or nothing."""
    if placement.in_place:
        return placement.tensor_bytes if input_at_start else 0
    return _align(placement.input_bytes if input_at_start else placement.output_bytes)


def _per_layer(shapes: list[LayerShape], choices: tuple[KernelChoice, ...]) -> list[KernelChoice | None]:
    remaining = iter(choices)
    return [next(remaining) if shape.kind == "conv" else None for shape in shapes]


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
