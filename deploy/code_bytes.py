"""How much of an image is kernels: the runtime's and libgcc's code and constants, from the linker's map.

Not in it: the C library, start-up, semihosting, the program around the inference, and the model's tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from train.errors import ArtefactError

RUNTIME, LIBGCC = "librepedge_runtime.a", "libgcc.a"
BEGIN = "Linker script and memory map"
SECTION = re.compile(r"^ (\.(?:text|rodata)\S*)\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)\s+(\S+)$", re.MULTILINE)
MEMBER = re.compile(r"([^/()]+)\(([^()]+)\)$")


@dataclass(frozen=True)
class CodeBytes:
    """Bytes of `.text` and `.rodata` by object file of the runtime, and of all of libgcc."""

    objects: dict[str, int]
    libgcc: int

    @property
    def total(self) -> int:
        """Kernels, the planner's glue and libgcc."""
        return sum(self.objects.values()) + self.libgcc


def read_code_bytes(path: Path) -> CodeBytes:
    """Read a GNU ld map."""
    _, begin, text = path.read_text().partition(BEGIN)
    if not begin:
        raise ArtefactError(f"{path}: no '{BEGIN}' in it; a map of GNU ld has one; build the firmware again")
    return parse_code_bytes(text)


def parse_code_bytes(text: str) -> CodeBytes:
    r"""The map's part after the discarded sections; a long section name stands on a line of its own.

    >>> parse_code_bytes(" .text.f\n      0x100   0x20 src/librepedge_runtime.a(f.c.obj)\n")
    CodeBytes(objects={'f.c.obj': 32}, libgcc=0)
    """
    objects: dict[str, int] = {}
    libgcc = 0
    for _, size, source in SECTION.findall(re.sub(r"^( \.\S+)\n\s+", r"\1 ", text, flags=re.MULTILINE)):
        member = MEMBER.search(source)
        if member and member[1] == RUNTIME and int(size, 16):
            objects[member[2]] = objects.get(member[2], 0) + int(size, 16)
        elif member and member[1] == LIBGCC:
            libgcc += int(size, 16)
    return CodeBytes(dict(sorted(objects.items())), libgcc)
