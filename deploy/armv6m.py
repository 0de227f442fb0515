"""The check of Armv6-M images: they run on an emulated Cortex-M3, which would run opcodes that a Cortex-M0+ has not.

Armv6-M has the 16-bit Thumb instructions without CBZ, CBNZ and IT, and six 32-bit ones.
"""

from __future__ import annotations

import re
from pathlib import Path

from deploy.tool import run_tool
from train.errors import Mismatch

WIDE = {"bl", "dmb", "dsb", "isb", "mrs", "msr"}
NOT_IN_ARMV6M = re.compile(r"cbn?z|i[te]{1,4}")
# address, one or two halfwords, mnemonic; a literal is one group of eight digits and does not match
LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f]{4})( [0-9a-f]{4})?\s+([a-z]\S*)", re.MULTILINE)


def check_armv6m(elf: Path, log: Path) -> int:
    """Number of instructions in the image, all of them Armv6-M; the first that is not raises `Mismatch`."""
    listing = run_tool(["arm-none-eabi-objdump", "-d", elf.absolute()], cwd=log.parent, log=log)
    return check_listing(listing, str(elf))


def check_listing(listing: str, origin: str) -> int:
    """The check on a disassembler's listing.

    >>> check_listing("  8000:\\t4770      \\tbx\\tlr\\n  8002:\\tf000 f801 \\tbl\\t8008\\n", "x.elf")
    2
    """
    found = LINE.findall(listing)
    for address, _, second, mnemonic in found:
        name = mnemonic.removesuffix(".w").removesuffix(".n")
        if (second and name not in WIDE) or NOT_IN_ARMV6M.fullmatch(name):
            raise Mismatch(
                f"{origin}: {mnemonic} at {address}, which a Cortex-M0+ has not; allowed are the instructions of Armv6-M; "
                "build all of the image with -mcpu=cortex-m0plus"
            )
    if not found:
        raise Mismatch(f"{origin}: no instruction found in it; an image has some; build it again")
    return len(found)
