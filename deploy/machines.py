"""The emulated machines: which QEMU machine runs a core's images, and where it has memory for them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Machine:
    """A QEMU machine. Images boot from the start of `flash`; sizes are the machine's, not a chip's."""

    name: str
    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int


# Armv6-M images run on the Armv7-M machine, whose instruction set holds theirs; deploy/armv6m.py checks their opcodes
_MPS2_M3 = Machine("mps2-an385", 0x00000000, 4 * MIB, 0x20000000, 4 * MIB)

MACHINES = {
    "cortex-m0plus": _MPS2_M3,
    "cortex-m3": _MPS2_M3,
    "cortex-m4": Machine("mps2-an386", 0x00000000, 4 * MIB, 0x20000000, 4 * MIB),
    "cortex-m7": Machine("mps2-an500", 0x00000000, 4 * MIB, 0x20000000, 4 * MIB),
    "cortex-m33": Machine("mps2-an505", 0x10000000, 4 * MIB, 0x38000000, 4 * MIB),  # secure aliases
    "cortex-m55": Machine("mps3-an547", 0x00000000, MIB // 2, 0x21000000, 4 * MIB),
}
