"""The instructions of a Cortex-M image, as its disassembler prints them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deploy.tool import run_tool

GNU = ("arm-none-eabi-objdump", "-d", "--no-show-raw-insn")
# GNU objdump 2.40 prints the vector instructions of the M55 as coprocessor ones
LLVM = (
    "llvm-objdump",
    "-d",
    "--no-show-raw-insn",
    "--triple=thumbv8.1m.main-none-eabi",
    "--mattr=+mve.fp,+lob,+fp64,+fullfp16",
)
LINE = re.compile(r"^\s*([0-9a-f]+):\s+([a-z]\S*)(?:\s+(.*))?$")


@dataclass(frozen=True)
class Instruction:
    """`mnemonic` in lower case without width suffix (`.w`, `.n`); `operands` without the disassembler's comment."""

    mnemonic: str
    operands: str


def disassemble(elf: Path, core: str, log: Path) -> dict[int, Instruction]:
    """Address -> instruction of everything executable in the image."""
    command = LLVM if core == "cortex-m55" else GNU
    return parse_disassembly(run_tool([*command, elf.absolute()], cwd=log.parent, log=log))


def parse_disassembly(text: str) -> dict[int, Instruction]:
    """Address -> instruction from a disassembler's listing, by ascending address.

    >>> parse_disassembly("  8000: ldr.w r0, [r1, #4] @ a comment")
    {32768: Instruction(mnemonic='ldr', operands='r0, [r1, #4]')}
    """
    found = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            mnemonic = match[2].lower().removesuffix(".w").removesuffix(".n")
            operands = re.split(r"[@;]", match[3] or "")[0].split("//")[0].strip()
            found[int(match[1], 16)] = Instruction(mnemonic, operands)
    return dict(sorted(found.items()))
