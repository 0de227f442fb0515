"""Symbols and sections of an ELF file, as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from train.errors import ArtefactError


@dataclass(frozen=True)
class Symbol:
    """A named range of addresses; a Thumb function's address has its lowest bit cleared. `size` is in bytes."""

    name: str
    kind: str  # "STT_FUNC", "STT_OBJECT", "STT_NOTYPE"
    address: int
    size: int

    @property
    def end(self) -> int:
        """The first address past it."""
        return self.address + self.size


@dataclass(frozen=True)
class SectionRange:
    """A section that has an address at run time; `loaded` ones have bytes in the file, kept at `load_address`."""

    name: str
    address: int
    load_address: int
    size: int
    loaded: bool
    writable: bool
    code: bool

    def holds(self, address: int) -> bool:
        """Whether the address lies in it."""
        return self.address <= address < self.address + self.size


@dataclass(frozen=True)
class ElfImage:
    """What an ELF file says of its addresses; `contents` holds the bytes of loaded sections by section name.

    `functions` has every one by address, also those that share an address or, static ones of several files, a name: the
    latter as `name (file.c)`. An alias without a size has that of its twin, and follows it.
    """

    path: Path
    sections: tuple[SectionRange, ...]
    symbols: dict[str, Symbol]
    contents: dict[str, bytes]
    functions: tuple[Symbol, ...] = ()

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name."""
        if name not in self.symbols:
            raise ArtefactError(f"{self.path}: no symbol {name}; the build must keep it; link without --strip-all")
        return self.symbols[name]

    def section_of(self, address: int) -> SectionRange | None:
        """The section that holds an address."""
        return next((section for section in self.sections if section.holds(address)), None)

    def read(self, symbol: Symbol) -> bytes:
        """The initial bytes of a symbol, from the section that holds it."""
        section = self.section_of(symbol.address)
        if section is None or not section.loaded:
            raise ArtefactError(f"{self.path}: {symbol.name} has no bytes in the file; a constant must lie in flash")
        start = symbol.address - section.address
        return self.contents[section.name][start : start + symbol.size]


def read_elf(path: Path) -> ElfImage:
    """Read sections and symbols; `ArtefactError` where the file is no ELF file."""
    try:
        with path.open("rb") as handle:
            elf = ELFFile(handle)
            thumb = elf["e_machine"] == "EM_ARM"
            sections = [section for section in elf.iter_sections() if section["sh_flags"] & SH_FLAGS.SHF_ALLOC]
            loaded = [section for section in sections if section["sh_type"] != "SHT_NOBITS"]
            return ElfImage(
                path,
                tuple(_section_range(elf, section) for section in sections if section["sh_size"]),
                _symbols(elf, thumb=thumb),
                {section.name: section.data() for section in loaded},
                _functions(elf, thumb=thumb),
            )
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file; the build writes it; run the deploy stage again") from error
    except ELFError as error:
        raise ArtefactError(f"{path}: not an ELF file ({error}); build it again") from error


def _section_range(elf: ELFFile, section: Section) -> SectionRange:
    header = section.header
    flags, address = header["sh_flags"], header["sh_addr"]
    holders = [segment for segment in elf.iter_segments("PT_LOAD") if segment.section_in_segment(section)]
    shift = holders[0]["p_paddr"] - holders[0]["p_vaddr"] if holders else 0
    return SectionRange(
        section.name,
        address,
        address + shift,
        header["sh_size"],
        loaded=header["sh_type"] != "SHT_NOBITS",
        writable=bool(flags & SH_FLAGS.SHF_WRITE),
        code=bool(flags & SH_FLAGS.SHF_EXECINSTR),
    )


def _symbols(elf: ELFFile, *, thumb: bool) -> dict[str, Symbol]:
    found: dict[str, Symbol] = {}
    for table in elf.iter_sections():
        if not isinstance(table, SymbolTableSection):
            continue
        for entry in table.iter_symbols():
            kind = entry["st_info"]["type"]
            if entry.name and kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE") and entry["st_shndx"] != "SHN_UNDEF":
                address = entry["st_value"] & ~1 if thumb and kind == "STT_FUNC" else entry["st_value"]
                found.setdefault(entry.name, Symbol(entry.name, kind, address, entry["st_size"]))
    return dict(sorted(found.items()))


def _functions(elf: ELFFile, *, thumb: bool) -> tuple[Symbol, ...]:
    found: list[tuple[Symbol, str]] = []
    for table in elf.iter_sections():
        file = ""
        for entry in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            kind = entry["st_info"]["type"]
            if kind == "STT_FILE":
                file = entry.name
            elif kind == "STT_FUNC" and entry["st_shndx"] != "SHN_UNDEF":
                address = entry["st_value"] & ~1 if thumb else entry["st_value"]
                found.append((Symbol(entry.name, kind, address, entry["st_size"]), file))
    sizes = {symbol.address: symbol.size for symbol, _ in sorted(found, key=lambda pair: pair[0].size)}
    uses = Counter(symbol.name for symbol, _ in found)
    found.sort(key=lambda pair: (pair[0].address, -pair[0].size, pair[0].name))
    return tuple(
        replace(
            symbol,
            name=f"{symbol.name} ({file})" if uses[symbol.name] > 1 else symbol.name,
            size=sizes[symbol.address],
        )
        for symbol, file in found
    )
