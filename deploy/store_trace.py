"""Proof, from the stores of an emulated run, that each layer keeps to its own bytes of the arena and the plan is not too large.

Input pixels are written by the program around the inference, so the image's place counts as stored from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convert.kernels import ALIGNMENT
from convert.memory_plan import MemoryPlan, Placement
from deploy.profile import Profile
from train.errors import Mismatch

Range = tuple[int, int]  # first byte and the one past the last, from the arena's start


def check_stores(profile: Profile, arena_address: int, plan: MemoryPlan) -> None:
    """`Mismatch` where a layer stores outside its output and scratch, leaves a byte of its output, or an end of the arena idle."""
    stored: list[Range] = [(plan.input_offset, plan.input_offset + plan.placements[0].input_bytes)]
    for layer, placement in enumerate(plan.placements):
        own = [(low - arena_address, high - arena_address) for low, high in profile.buckets[layer].stored]
        _check_layer(placement, own)
        stored += own
    planned = [region for placement in plan.placements for region in (*tensors(placement), *scratch(placement))]
    first, last = _ends(stored)
    low, high = _ends(planned)
    # a Winograd kernel's scratch ends with room for a second tile, which an odd number of tiles leaves idle
    idle = 0 if high in {end for placement in plan.placements for _, end in tensors(placement)} else ALIGNMENT
    if first != low or not high - idle <= last <= high:
        raise Mismatch(
            f"arena: bytes {first} to {last} are stored to, the plan uses {low} to {high}; both ends must be needed; "
            "report it as a bug"
        )


def tensors(placement: Placement) -> list[Range]:
    """Where a layer's input and output lie; the classifier's logits lie outside of the arena."""
    found = [(placement.input_offset, placement.input_offset + placement.input_bytes)]
    return found + output(placement)


def output(placement: Placement) -> list[Range]:
    """Where a layer's output lies."""
    if placement.shape.kind == "fully_connected":
        return []
    return [(placement.output_offset, placement.output_offset + placement.output_bytes)]


def scratch(placement: Placement) -> list[Range]:
    """Where a layer's scratch lies, if it has any."""
    size = placement.scratch_bytes
    return [(placement.scratch_offset, placement.scratch_offset + size)] if size else []


def _check_layer(placement: Placement, stored: Sequence[Range]) -> None:
    allowed = [*output(placement), *scratch(placement)]
    outside = without(stored, allowed)
    if outside:
        raise Mismatch(
            f"layer {placement.shape.name}: stores to bytes {outside[0][0]} to {outside[0][1]} of the arena, "
            f"allowed are {allowed}; report it as a bug"
        )
    idle = without(output(placement), stored)
    if idle:
        raise Mismatch(
            f"layer {placement.shape.name}: never stores to bytes {idle[0][0]} to {idle[0][1]} of the arena, "
            "which are its output; report it as a bug"
        )


def without(ranges: Iterable[Range], removed: Iterable[Range]) -> list[Range]:
    """What of `ranges` lies in none of `removed`.

    >>> without([(0, 10)], [(2, 4), (8, 12)])
    [(0, 2), (4, 8)]
    """
    left = list(ranges)
    for low, high in removed:
        left = [
            part
            for start, end in left
            for part in ((start, min(end, low)), (max(start, high), end))
            if part[0] < part[1]
        ]
    return left


def _ends(ranges: Sequence[Range]) -> Range:
    return min(start for start, _ in ranges), max(end for _, end in ranges)
