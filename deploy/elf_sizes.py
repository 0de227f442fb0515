"""Exact flash and RAM bytes of a linked firmware image, by region, by section and by layer.

Flash is everything from the first to past the last byte that is programmed: `.text`, `.rodata`, `.ARM.exidx` and the
load copy of `.data`. RAM is everything from the first to past the last byte that is reserved: the stack, `.data`, `.bss`.
`.data` counts in both. Gaps of alignment count as `other` in flash (between weights: as weights) and as `static` in RAM.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from deploy.elf_symbols import ElfImage, SectionRange, Symbol, read_elf
from train.errors import ArtefactError

WEIGHT_TABLE = re.compile(r"model_\w+_(?:indices|codebook|bias|multiplier|shift)")
ARENA_SYMBOL = "repedge_arena"
STACK_SECTION = ".stack"
ALIGNMENT_MAX = 16  # a longer gap between two tables is not padding


@dataclass(frozen=True)
class FlashBytes:
    """`weights`: the model's tables; `code`: functions with their literal pools; `other`: constants, `.data`'s copy, gaps."""

    code: int
    weights: int
    other: int

    @property
    def total(self) -> int:
        """All flash bytes."""
        return self.code + self.weights + self.other


@dataclass(frozen=True)
class RamBytes:
    """`arena`: activations and scratch; `stack`: as reserved by the linker; `static`: `.data`, the rest of `.bss`, gaps."""

    arena: int
    stack: int
    static: int

    @property
    def total(self) -> int:
        """All RAM bytes."""
        return self.arena + self.stack + self.static


@dataclass(frozen=True)
class ElfSizes:
    """Sizes of one image. `sections`: name -> (flash bytes, RAM bytes)."""

    flash: FlashBytes
    ram: RamBytes
    sections: dict[str, tuple[int, int]]


def measure_elf(path: Path, *, arena_symbol: str = ARENA_SYMBOL) -> ElfSizes:
    """Flash and RAM of a linked image."""
    return measure_image(read_elf(path), arena_symbol=arena_symbol)


def measure_image(image: ElfImage, *, arena_symbol: str = ARENA_SYMBOL) -> ElfSizes:
    """Flash and RAM of an image that was read already."""
    in_flash = [section for section in image.sections if section.loaded]
    in_ram = [section for section in image.sections if section.writable or not section.loaded]
    if not in_flash or not in_ram:
        raise ArtefactError(f"{image.path}: no section in flash or none in RAM; a firmware image has both")
    weights = sum(padded_weights(image).values())
    code = sum(section.size for section in in_flash if section.code) - _objects_in_code(image)
    flash_total = max(section.load_address + section.size for section in in_flash) - min(
        section.load_address for section in in_flash
    )
    ram_total = max(section.address + section.size for section in in_ram) - min(section.address for section in in_ram)
    stack = sum(section.size for section in in_ram if section.name == STACK_SECTION)
    arena = image.symbol(arena_symbol).size
    return ElfSizes(
        FlashBytes(code, weights, flash_total - code - weights),
        RamBytes(arena, stack, ram_total - arena - stack),
        {
            section.name: (section.size * section.loaded, section.size * (section in in_ram))
            for section in image.sections
        },
    )


def padded_weights(image: ElfImage) -> dict[str, int]:
    """Flash bytes of each of the model's tables by symbol, with the padding up to the next table."""
    return padded_tables(image, WEIGHT_TABLE)


def padded_tables(image: ElfImage, names: re.Pattern[str]) -> dict[str, int]:
    """Bytes of each constant table whose symbol has such a name, with the padding up to the next of them."""
    tables = [
        symbol
        for symbol in _objects(image)
        if names.fullmatch(symbol.name) and _is_constant(image.section_of(symbol.address))
    ]
    sizes = {symbol.name: symbol.size for symbol in tables}
    for symbol, following in pairwise(tables):
        gap = following.address - symbol.end
        if 0 < gap < ALIGNMENT_MAX and not _object_at(image, symbol.end):
            sizes[symbol.name] += gap
    return sizes


def _objects(image: ElfImage) -> list[Symbol]:
    """Data symbols by ascending address; of aliases the first by name."""
    unique = {symbol.address: symbol for symbol in reversed(image.symbols.values()) if symbol.kind == "STT_OBJECT"}
    return sorted(unique.values(), key=lambda symbol: symbol.address)


def _object_at(image: ElfImage, address: int) -> bool:
    return any(symbol.address <= address < symbol.end for symbol in _objects(image))


def _objects_in_code(image: ElfImage) -> int:
    """Bytes of constants that the linker script put into an executable section."""
    owners = [(symbol.size, image.section_of(symbol.address)) for symbol in _objects(image)]
    return sum(size for size, owner in owners if owner is not None and owner.code)


def _is_constant(section: SectionRange | None) -> bool:
    return section is not None and section.loaded and not section.writable
