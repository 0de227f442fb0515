"""The bound on the stack: gcc's frames and calls, assembly by its pushes, and errors where no bound exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.disassembly import Instruction
from deploy.elf_symbols import ElfImage, Symbol
from deploy.stack_bound import CallGraph, Frame, build_call_graph, compiled_frames, lowered_bytes
from train.errors import ArtefactError

INVOKE = r"""graph: { title: "repedge_invoke.c"
node: { title: "repedge_invoke" label: "repedge_invoke\nrepedge_invoke.c:40:18\n48 bytes (static)\n0 dynamic objects" }
node: { title: "src/repedge_invoke.c:check" label: "check\nrepedge_invoke.c:4:18\n8 bytes (static)" }
node: { title: "__indirect_call" label: "Indirect Call Placeholder" shape : ellipse }
node: { title: "memset" label: "memset\nstring.h:33:9" shape : ellipse }
edge: { sourcename: "repedge_invoke" targetname: "src/repedge_invoke.c:check" label: "x" }
edge: { sourcename: "repedge_invoke" targetname: "__indirect_call" label: "x" }
edge: { sourcename: "src/repedge_invoke.c:check" targetname: "memset" label: "x" }
}
node: { title: "repedge_conv3x3_s8" label: "repedge_conv3x3_s8\na.c:1:1\n100 bytes (static)" }
node: { title: "repedge_conv3x3_s8_direct" label: "repedge_conv3x3_s8_direct\na.c:1:1\n900 bytes (static)" }
"""


def _image(*names: str) -> ElfImage:
    symbols = {name: Symbol(name, "STT_FUNC", 0x1000 * k, 0x1000) for k, name in enumerate(names, start=1)}
    return ElfImage(Path("made.elf"), (), symbols, {}, tuple(symbols.values()))


def test_worst_path_goes_through_the_linked_kernels_only(tmp_path):
    (tmp_path / "a.ci").write_text(INVOKE)
    image = _image("repedge_invoke", "repedge_conv3x3_s8", "memset")
    code = {0x3000: Instruction("push", "{r4, lr}"), 0x3002: Instruction("bx", "lr")}
    graph = build_call_graph(tmp_path, image, code)
    assert graph.depth_bytes("repedge_invoke") == 148
    assert graph.worst_path("repedge_invoke") == ("repedge_invoke", "repedge_conv3x3_s8")
    assert graph.depth_bytes("src/repedge_invoke.c:check") == 16


def test_assembly_counts_its_pushes_and_calls(tmp_path):
    image = _image("caller", "called")
    code = {
        0x1000: Instruction("push", "{r4-r11, lr}"),
        0x1004: Instruction("sub", "sp, sp, #76"),
        0x1008: Instruction("bl", "2000 <called>"),
        0x2000: Instruction("vpush", "{d8-d15}"),
        0x2004: Instruction("b", "2000 <called>"),
    }
    assert build_call_graph(tmp_path, image, code).depth_bytes("caller") == 36 + 76 + 64


def test_a_pointer_call_in_an_unknown_file_is_refused():
    text = INVOKE.replace("repedge_invoke", "surprise")
    with pytest.raises(ArtefactError, match="calls through a pointer"):
        compiled_frames({"a.ci": text}, ["surprise"])


def test_a_frame_of_variable_size_is_refused():
    with pytest.raises(ArtefactError, match="fixed frames"):
        compiled_frames({"a.ci": INVOKE.replace("900 bytes (static)", "900 bytes (dynamic)")}, [])


def test_recursion_and_unknown_functions_are_refused():
    graph = CallGraph({"a": Frame("a", 8, frozenset("b")), "b": Frame("b", 8, frozenset("a"))})
    with pytest.raises(ArtefactError, match="a -> b -> a is a recursion"):
        graph.depth_bytes("a")
    with pytest.raises(ArtefactError, match="c is called and neither"):
        CallGraph({"a": Frame("a", 8, frozenset("c"))}).depth_bytes("a")


@pytest.mark.parametrize(
    ("mnemonic", "operands", "lowered"),
    [
        ("stmdb", "sp!, {r4, r5, r6, r7, r8, lr}", 24),
        ("sub", "sp, #0x10", 16),
        ("str", "lr, [sp, #-4]!", 4),
        ("vpush", "{s16-s19}", 16),
        ("add", "sp, #16", 0),
        ("sub", "r0, sp, #16", 0),
        ("str", "r0, [sp, #4]", 0),
    ],
)
def test_lowering_of_the_stack_pointer(mnemonic, operands, lowered):
    assert lowered_bytes(Instruction(mnemonic, operands)) == lowered
