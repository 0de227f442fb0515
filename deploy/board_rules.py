"""What a microcontroller's board file may not say, although every single value of it is possible.

Each rule is a function from the board to the problem that it finds, or to None; the rules know nothing of YAML.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Protocol

ADDRESS_SPACE = 1 << 32
ALIGNMENT = 8  # of a stack pointer, and of every section that the linker template places
# what a core can have; its kernels use dsp and mve, so a chip without them cannot run its images
EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    "cortex-m0plus": (),
    "cortex-m3": (),
    "cortex-m4": ("dsp", "fpu"),
    "cortex-m7": ("dsp", "fpu"),
    "cortex-m33": ("dsp", "fpu"),
    "cortex-m55": ("dsp", "fpu", "mve"),
}


class Memory(Protocol):
    """One memory region at its real address."""

    @property
    def origin(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...


def memory_problem(memories: Mapping[str, Memory]) -> str | None:
    """A region off the address space or the alignment, or two that overlap."""
    for name, memory in memories.items():
        end = memory.origin + memory.size_bytes
        if end > ADDRESS_SPACE:
            return f"{name}: ends at {end:#x}, allowed are addresses of 32 bits; correct its origin or size_bytes"
        if memory.origin % ALIGNMENT or memory.size_bytes % ALIGNMENT:
            return (
                f"{name}: origin {memory.origin:#x}, size {memory.size_bytes:,} B; allowed are multiples of {ALIGNMENT}; "
                "round them"
            )
    ordered = sorted(memories.items(), key=lambda item: item[1].origin)
    for (low_name, low), (high_name, high) in pairwise(ordered):
        end = low.origin + low.size_bytes
        if end > high.origin:
            return (
                f"{low_name} and {high_name}: overlap from {high.origin:#x} to {min(end, high.origin + high.size_bytes):#x}; "
                "correct an origin or a size_bytes"
            )
    return None


def extensions_problem(core: str, extensions: Collection[str]) -> str | None:
    """An extension that the core cannot have, or one that its kernels need and the chip lacks."""
    possible = EXTENSIONS[core]
    wrong = [name for name in extensions if name not in possible]
    if wrong:
        return f"extensions: {', '.join(wrong)} on a {core}, which can have {', '.join(possible) or 'none'}; remove it, or correct core"
    lacking = [name for name in possible if name not in extensions and name != "fpu"]
    if lacking:
        return (
            f"extensions: no {', '.join(lacking)}, which the kernels of {core} use; add it, or for a chip without it "
            "give core: cortex-m3, whose images it runs too"
        )
    return None


def stack_problem(stack_bytes: int, ram: Memory) -> str | None:
    """A stack that leaves nothing of the RAM."""
    if stack_bytes < ram.size_bytes:
        return None
    return f"stack_bytes: {stack_bytes:,}, allowed is less than the ram's {ram.size_bytes:,}; the arena is there too"


def line_problem(line_bytes: int) -> str | None:
    """A cache line that no address bits choose."""
    if line_bytes & (line_bytes - 1) == 0:
        return None
    return f"flash_line_bytes: {line_bytes}, allowed are powers of two, as 16 or 32"


def name_problem(regions: Collection[str]) -> str | None:
    """A further region with the name of one that the firmware uses."""
    taken = [name for name in regions if name in ("flash", "ram")]
    return f"regions: {', '.join(taken)} is taken by the key beside it; give the region another name" if taken else None
