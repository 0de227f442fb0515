"""The deepest stack a program can need, computed before it runs: frames along the worst path of its call graph.

C functions: frame sizes and calls as gcc wrote them beside the objects (`-fcallgraph-info=su`, `*.ci`). Assembly and library
functions: every push and every lowering of SP in their disassembly, added up, and their branches to other functions. A call
through a pointer may reach what `INDIRECT` lists for the file it stands in; one that stands anywhere else is an error, and
so are recursion and frames of variable size. What an interrupt handler needs comes on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deploy.disassembly import Instruction
from deploy.elf_symbols import ElfImage
from train.errors import ArtefactError

# file name of the caller -> names that the pointers it calls through may have
INDIRECT = {
    "repedge_invoke.c": r"repedge_conv3x3_s8\w*",
    "repedge_winograd.c": r"repedge_winograd[24]_(?:weights|input|multiply|output)",
    "repedge_dsp_convolve.c": r"convert_row|prepare_(?:border|line)",
    "repedge_conv3x3_s8_mve_direct.c": r"repedge_mve_stride\w+",
    "repedge_conv3x3_s8_mve_first.c": r"repedge_mve_window\w+",
}
INFERENCE, PROGRAM = "repedge_invoke", "start"
INDIRECT_CALL = "__indirect_call"
NODE = re.compile(r'node: \{ title: "([^"]*)" label: "[^"]*?\\n(\d+) bytes \(([^)]*)\)')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')
REGISTER_BYTES = {"push": 4, "vpush": 8, "stmdb": 4}


@dataclass(frozen=True)
class Frame:
    """What one function needs itself, in bytes, and what it calls."""

    name: str
    stack_bytes: int
    calls: frozenset[str]


@dataclass(frozen=True)
class CallGraph:
    """Frames by title (gcc's: `path:name` for static functions, else the name)."""

    frames: Mapping[str, Frame]

    def depth_bytes(self, root: str) -> int:
        """Bytes of the deepest path from `root`, its own frame included."""
        return sum(self.frames[title].stack_bytes for title in self.worst_path(root))

    def worst_path(self, root: str) -> tuple[str, ...]:
        """Titles from `root` down to the deepest frame."""
        return self._path(root, ())

    @cached_property
    def _known(self) -> dict[str, tuple[str, ...]]:
        return {}

    def _path(self, title: str, above: tuple[str, ...]) -> tuple[str, ...]:
        if title in above:
            cycle = " -> ".join((*above[above.index(title) :], title))
            raise ArtefactError(
                f"call graph: {cycle} is a recursion; a stack bound allows none; write it as a loop, or correct INDIRECT"
            )
        if title not in self.frames:
            raise ArtefactError(
                f"call graph: {title} is called and neither compiled nor linked here; its frame must be known; build again"
            )
        if title not in self._known:
            below = [self._path(called, (*above, title)) for called in sorted(self.frames[title].calls)]
            deepest = max(below, key=lambda path: sum(self.frames[name].stack_bytes for name in path), default=())
            self._known[title] = (title, *deepest)
        return self._known[title]


@dataclass(frozen=True)
class StackBound:
    """Bytes that an inference (`repedge_invoke`) and the whole program may need at most; `inference_path` leads to the deepest frame."""

    inference_bytes: int
    program_bytes: int
    inference_path: tuple[str, ...]


def bound_stack(build: Path, image: ElfImage, code: Mapping[int, Instruction]) -> StackBound:
    """The bounds of a linked firmware image."""
    graph = build_call_graph(build, image, code)
    path = [graph.frames[title] for title in graph.worst_path(INFERENCE)]
    names = tuple(f"{frame.name} {frame.stack_bytes}" for frame in path)
    return StackBound(graph.depth_bytes(INFERENCE), graph.depth_bytes(PROGRAM), names)


def build_call_graph(build: Path, image: ElfImage, code: Mapping[int, Instruction]) -> CallGraph:
    """The graph of a linked image: `*.ci` below `build`, and for functions without one the disassembly `code`."""
    texts = {path.name: path.read_text() for path in sorted(build.rglob("*.ci"))}
    frames = compiled_frames(texts, image.symbols.keys())
    titles = {frame.name for frame in frames.values()}
    return CallGraph(frames | {frame.name: frame for frame in _plain_frames(image, code) if frame.name not in titles})


def compiled_frames(texts: Mapping[str, str], linked: Iterable[str]) -> dict[str, Frame]:
    """Frames of C functions; calls through pointers reach what is `linked`."""
    nodes = [match for text in texts.values() for match in NODE.findall(text)]
    edges = [match for text in texts.values() for match in EDGE.findall(text)]
    for title, size, kind in nodes:
        if kind not in ("static", "dynamic,bounded"):
            raise ArtefactError(f"{title}: a frame of {size} bytes and more ({kind}); a stack bound needs fixed frames")
    reachable = set(linked)
    targets = [(title, _function(title)) for title, _, _ in nodes]
    targets += [(name, name) for name in sorted(reachable - {name for _, name in targets})]
    calls: dict[str, set[str]] = {}
    for source, target in edges:
        found = {target}
        if target == INDIRECT_CALL:
            found = {title for title, name in targets if name in reachable and _may_call(source, name)}
        calls.setdefault(source, set()).update(found)
    return {title: Frame(_function(title), int(size), frozenset(calls.get(title, ()))) for title, size, _ in nodes}


def _function(title: str) -> str:
    return title.rpartition(":")[2]


def _may_call(source: str, name: str) -> bool:
    """Whether a pointer called in a function may be that function."""
    path = Path(source.rpartition(":")[0] or source)
    file = path.name if path.suffix == ".c" else f"{source}.c"
    if file not in INDIRECT:
        raise ArtefactError(
            f"{source}: it calls through a pointer; only those of {', '.join(sorted(INDIRECT))} are known; list its targets"
        )
    return re.fullmatch(INDIRECT[file], name) is not None


def _plain_frames(image: ElfImage, code: Mapping[int, Instruction]) -> list[Frame]:
    """Frames of all functions as their instructions show them."""
    starts = {symbol.address: symbol for symbol in image.functions}
    ordered = sorted(code)
    frames = []
    for symbol in image.functions:
        own = [code[address] for address in ordered if symbol.address <= address < symbol.end]
        calls = {starts[to].name for to in map(_branch_target, own) if to in starts and to != symbol.address}
        frames.append(Frame(symbol.name, sum(map(lowered_bytes, own)), frozenset(calls)))
    return frames


def lowered_bytes(instruction: Instruction) -> int:
    """How far an instruction lowers SP.

    >>> lowered_bytes(Instruction("push", "{r4-r7, lr}")), lowered_bytes(Instruction("sub", "sp, sp, #0x10"))
    (20, 16)
    """
    name, operands = instruction.mnemonic.split(".")[0], instruction.operands
    if name in ("push", "vpush") or (name.startswith("stmdb") and operands.startswith("sp!")):
        each = 4 if name == "vpush" and "{s" in operands else REGISTER_BYTES[name[:5]]
        return each * _register_count(operands[operands.index("{") + 1 : operands.index("}")])
    if name in ("sub", "subs", "subw") and re.match(r"sp,", operands):
        return int(operands.rpartition("#")[2], 0)
    moved = re.search(r"\[sp, #-(\w+)\]!", operands)
    return int(moved[1], 0) if moved and name.startswith(("str", "vstr")) else 0


def _register_count(registers: str) -> int:
    total = 0
    for part in registers.split(","):
        first, _, last = part.strip().partition("-")
        total += _number(last) - _number(first) + 1 if last else 1
    return total


def _number(register: str) -> int:
    named = {"fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15, "sl": 10, "sb": 9}
    return named[register] if register in named else int(register[1:])


def _branch_target(instruction: Instruction) -> int | None:
    if not re.fullmatch(r"bl|b|b\w\w|cbn?z", instruction.mnemonic):
        return None
    found = re.search(r"(?:\b0x|\b)([0-9a-f]{3,})\b", instruction.operands)
    return int(found[1], 16) if found else None
