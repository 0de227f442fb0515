"""Where the instructions of an inference go: exact counts per function and layer, as data and as a text table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.elf_symbols import ElfImage
from deploy.profile import OUTSIDE, Profile

FILE_NAME = "functions.txt"
NO_FUNCTION = "(no symbol)"
DETAILED = 0.005  # smaller shares of the inference are not told by layer


@dataclass(frozen=True)
class FunctionCount:
    """Instructions of one function inside an inference; `layers` by number of the layer."""

    name: str
    layers: dict[int, int] = field(default_factory=dict)

    @property
    def instructions(self) -> int:
        """Of all layers."""
        return sum(self.layers.values())


def count_functions(profile: Profile, image: ElfImage) -> tuple[FunctionCount, ...]:
    """Every function that ran inside a layer, most instructions first. Straight-line code counts where it begins."""
    functions = list({symbol.address: symbol for symbol in reversed(image.functions)}.values())[::-1]
    starts = [symbol.address for symbol in functions]
    counts: dict[str, dict[int, int]] = {}
    for block in profile.blocks:
        if block.bucket != OUTSIDE:
            position = bisect_right(starts, block.start) - 1
            inside = position >= 0 and block.start < functions[position].end
            layers = counts.setdefault(functions[position].name if inside else NO_FUNCTION, {})
            layers[block.bucket] = layers.get(block.bucket, 0) + block.instructions * block.executions
    found = [FunctionCount(name, dict(sorted(layers.items()))) for name, layers in counts.items()]
    return tuple(sorted(found, key=lambda count: (-count.instructions, count.name)))


def functions_entry(counts: Sequence[FunctionCount], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a report's target: name, instructions, percent of the inference, instructions per layer's name."""
    total = sum(count.instructions for count in counts) or 1
    return [
        {
            "name": count.name,
            "instructions": count.instructions,
            "percent": round(100 * count.instructions / total, 3),
            "layers": {names[layer]: instructions for layer, instructions in count.layers.items()},
        }
        for count in counts
    ]


def flame_text(counts: Sequence[FunctionCount], names: Sequence[str]) -> str:
    """One line per function with its share, and below it one per layer; a bar's sign is two percent of the inference."""
    total = sum(count.instructions for count in counts) or 1
    lines = [f"{total:>14,}  100.0 %  instructions of one inference, exact"]
    for count in counts:
        lines.append(_line(count.name, count.instructions, total, ""))
        if len(count.layers) > 1 and count.instructions >= DETAILED * total:
            lines += [_line(names[layer], number, total, "  ") for layer, number in count.layers.items()]
    return "\n".join(lines) + "\n"


def _line(name: str, instructions: int, total: int, indent: str) -> str:
    share = 100 * instructions / total
    bar = "#" * round(share / 2)
    return f"{instructions:>14,} {share:6.1f} %  {indent}{name:<{38 - len(indent)}} {bar}".rstrip()
