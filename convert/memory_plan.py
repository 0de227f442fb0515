"""The static memory plan: where each activation lies in the one arena, computed before anything is built.

Activations take turns at the two ends of the arena, so that a layer's input and output never touch; the decoded strip
of weights lies in the gap between them. The arena is as large as the neediest layer, which no plan without in-place
layers can undercut. The logits are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from convert.integer_model import IntegerModel, LayerShape

ALIGNMENT = 16  # bytes; REPEDGE_ARENA_ALIGNMENT
STRIP_CHANNELS = 4  # output channels decoded at once; REPEDGE_STRIP_CHANNELS


@dataclass(frozen=True)
class Placement:
    """One layer's bytes in the arena. The classifier's output lies outside it (`output_offset` 0, unused)."""

    shape: LayerShape
    input_offset: int
    output_offset: int
    scratch_offset: int
    scratch_bytes: int

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


def plan_memory(model: IntegerModel) -> MemoryPlan:
    """The plan of a model; even activations start at 0, odd ones end at the arena's end."""
    shapes = list(model.shapes())
    sizes = [prod(shape.input_hwc) for shape in shapes]
    arena_bytes = max(
        Placement(shape, 0, 0, 0, scratch_bytes(shape)).arena_bytes for shape in shapes
    )  # offsets do not matter here
    offsets = [0 if k % 2 == 0 else arena_bytes - _align(size) for k, size in enumerate(sizes)] + [0]
    placements = []
    for k, shape in enumerate(shapes):
        lower = sizes[k] if k % 2 == 0 else prod(shape.output_hwc)
        scratch = scratch_bytes(shape)
        placements.append(Placement(shape, offsets[k], offsets[k + 1], _align(lower) if scratch else 0, scratch))
    return MemoryPlan(arena_bytes, 0, tuple(placements))


def scratch_bytes(shape: LayerShape) -> int:
    """Bytes of the decoded strip: int8 weights of `STRIP_CHANNELS` output channels of a convolution."""
    return STRIP_CHANNELS * 9 * shape.input_hwc[2] if shape.kind == "conv" else 0


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
