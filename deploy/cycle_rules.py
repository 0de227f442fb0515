"""How many cycles an instruction takes: one table per core, from the documented instruction timings.

Cortex-M4 (ARM 100166, instruction set summary) with zero-wait memory; P is the refill of the pipeline after a taken branch:

| class | cycles |
|---|---|
| data processing, multiply, multiply-accumulate, the DSP extension | 1 |
| single load | 2, or 1 right after another single load or store |
| single store | 1 |
| load or store of two registers | 3 |
| load or store of N registers, push, pop | 1 + N |
| branch not taken · taken | 1 · 1 + P, P = 1 of 1 to 3 |
| table branch | 2 + P |
| division | 7 of 2 to 12 |
| single-precision division, square root · multiply-accumulate | 14 · 3 |

The Cortex-M3 has no DSP extension: multiply-accumulate 2, long multiply 5 (of 3 to 5), long multiply-accumulate 6 (of 4 to 7).
Cortex-M0+: every load or store 2, of N registers 1 + N, all else 1, with the single-cycle multiplier (the other takes 32).
Cortex-M55: scalar as M4; a vector instruction 2 cycles, 1 right after a vector instruction of another kind (their beats
overlap); the end of a low-overhead loop 0.
"""

from __future__ import annotations

import re

from deploy.disassembly import Instruction

CONDITION = "(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?"
REFILL_CYCLES = 1
VECTOR_KINDS = ("vector_load", "vector_store", "vector_multiply", "vector_other")
SINGLE_ACCESSES = ("load", "store")

# the first pattern that matches the whole mnemonic (condition and type suffix aside) names the class
_CLASSES = [
    ("loop_end", "le|letp"),
    ("branch", "b|bl|blx|bx|cbz|cbnz|wls|wlstp|bxns|blxns"),
    ("table_branch", "tbb|tbh"),
    ("load", "ldr(?:b|h|sb|sh|t|ex|bt|ht)?|vldr"),
    ("store", "str(?:b|h|t|ex|bt|ht)?|vstr"),
    ("pair", "ldrd|strd"),
    ("multiple", "ldm(?:ia|db)?|stm(?:ia|db)?|pop|push|vldm(?:ia|db)?|vstm(?:ia|db)?|vpush|vpop"),
    ("division", "sdiv|udiv"),
    ("long_multiply", "smull|umull"),
    ("long_accumulate", "smlal|umlal|umaal|smlald|smlsld|smlaldx|smlsldx|smlal[bt][bt]"),
    ("accumulate", "mla|mls"),
    ("float_division", "vdiv|vsqrt"),
    ("float_accumulate", "v(?:n)?ml[as]|vf(?:n)?m[as]"),
]
_PATTERNS = [(name, re.compile(f"(?:{pattern}){CONDITION}")) for name, pattern in _CLASSES]
_VECTOR = re.compile(r"\bq\d")
_VECTOR_MULTIPLY = re.compile(r"v(?:r)?ml|vq(?:r)?dm|vmul|vfm")

_M4 = {
    "loop_end": 0,
    "load": 2,
    "next_load": 1,  # right after another single load or store
    "pair": 3,
    "table_branch": 2,
    "division": 7,
    "float_division": 14,
    "float_accumulate": 3,
}
CYCLES = {
    "cortex-m0plus": {"load": 2, "next_load": 2, "store": 2},
    "cortex-m3": _M4 | {"accumulate": 2, "long_multiply": 5, "long_accumulate": 6},
    "cortex-m4": _M4,
    "cortex-m55": _M4 | dict.fromkeys(VECTOR_KINDS, 2),
}


def classify(instruction: Instruction) -> str:
    """The class of an instruction; `other` is everything that takes one cycle."""
    name = instruction.mnemonic.split(".")[0]
    if name.startswith("v") and _VECTOR.search(instruction.operands):
        return _classify_vector(name)
    return next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(name)), "other")


def _classify_vector(name: str) -> str:
    if re.match(r"vldr|vld[24]", name):
        return "vector_load"
    if re.match(r"vstr|vst[24]", name):
        return "vector_store"
    return "vector_multiply" if _VECTOR_MULTIPLY.match(name) else "vector_other"


def register_count(operands: str) -> int:
    """Registers in a `{…}` list.

    >>> register_count("{r4-r7, lr}"), register_count("r0!, {s0-s3}")
    (5, 4)
    """
    match = re.search(r"\{(.*)\}", operands)
    count = 0
    for part in match[1].split(",") if match else []:
        ends = re.fullmatch(r"\s*[a-z]+(\d+)\s*-\s*[a-z]+(\d+)\s*", part)
        count += int(ends[2]) - int(ends[1]) + 1 if ends else 1
    return count


def block_cycles(instructions: list[Instruction], core: str) -> int:
    """Cycles of one execution of straight-line code, its last branch not taken."""
    total, previous = 0, ""
    for instruction in instructions:
        kind = classify(instruction)
        total += _cycles(instruction, kind, previous, CYCLES[core])
        previous = kind
    return total


def _cycles(instruction: Instruction, kind: str, previous: str, table: dict[str, int]) -> int:
    if kind == "load" and previous in SINGLE_ACCESSES:
        return table["next_load"]
    if kind == "multiple":
        return 1 + register_count(instruction.operands)
    if kind in VECTOR_KINDS and previous in VECTOR_KINDS and previous != kind:
        return 1
    return table.get(kind, 1)


def refill_cycles(last: Instruction) -> int:
    """Extra cycles when a block's last instruction goes on elsewhere; a low-overhead loop has none."""
    return 0 if classify(last) == "loop_end" else REFILL_CYCLES
