"""The C around the TVM kernels: constants, a static memory plan and the calls in order.

Activations live in one arena: outputs lie at its two ends in turn, so that a kernel's input and output never overlap.
Scratch of all kernels shares a second buffer. Nothing is allocated at run time; the input and the logits are the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.tvm_module import KernelCall, TensorSpec

ALIGNMENT = 64  # TVM's kAllocAlignment: vector loads may assume it
NAME = "repedge_model"
OUTSIDE = 63  # the counting plugin's bucket for all that is no layer
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in bytes. `outputs` has one entry per call but the last; `scratch` one tuple per call."""

    arena_bytes: int
    scratch_bytes: int
    outputs: tuple[int, ...]
    scratch: tuple[tuple[int, ...], ...]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan_memory(calls: tuple[KernelCall, ...]) -> MemoryPlan:
    """The smallest arena for a chain whose outputs lie at its two ends in turn, and the largest scratch of a call."""
    sizes = [_aligned(call.output.size_bytes) for call in calls[:-1]]
    arena = max((left + right for left, right in zip(sizes, [*sizes[1:], 0], strict=True)), default=0)
    outputs = tuple(0 if number % 2 == 0 else arena - size for number, size in enumerate(sizes))
    starts = [
        np.cumsum([0, *(_aligned(spec.size_bytes) for spec in call.scratch)]).tolist() for call in calls
    ]
    return MemoryPlan(arena, max(start[-1] for start in starts), outputs, tuple(tuple(start[:-1]) for start in starts))


def constant_symbol(call: KernelCall, name: str) -> str:
    """C name of one constant array of a call."""
    return f"{call.name}_{name}"


def header_source(calls: tuple[KernelCall, ...], plan: MemoryPlan) -> str:
    """The header of the library."""
    height, width, channels = calls[0].input.shape
    guard = f"{NAME.upper()}_H"
    return f"""/* Generated from a TVM module. An int8 image classifier with static memory and no other dependencies. */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#define REPEDGE_INPUT_HEIGHT {height}
#define REPEDGE_INPUT_WIDTH {width}
#define REPEDGE_INPUT_CHANNELS {channels}
#define REPEDGE_INPUT_BYTES {calls[0].input.size_bytes}
#define REPEDGE_CLASSES {calls[-1].output.size_bytes}
#define REPEDGE_LAYERS {len(calls)}
#define REPEDGE_ARENA_BYTES {plan.arena_bytes}
#define REPEDGE_SCRATCH_BYTES {plan.scratch_bytes}

#ifdef __cplusplus
extern "C" {{
#endif

/* input: REPEDGE_INPUT_BYTES values pixel - 128, height by width by channels.
 * logits: REPEDGE_CLASSES values; the class is the lowest index of the largest.
 * Uses the library's static memory: one call at a time. */
void repedge_run(const int8_t *input, int8_t *logits);

/* Optional. A program that defines it is told the layer that begins, and {OUTSIDE} after the last. */
void prof_mark(uint32_t layer);

#ifdef __cplusplus
}}
#endif

#endif
"""


def glue_source(calls: tuple[KernelCall, ...], plan: MemoryPlan) -> str:
    """C11 source of constants and `repedge_run`."""
    return "".join(part + "\n" for part in _glue_parts(calls, plan))


def _glue_parts(calls: tuple[KernelCall, ...], plan: MemoryPlan) -> Iterator[str]:
    yield f'/* Generated from a TVM module. */\n#include "{NAME}.h"\n'
    yield "void prof_mark(uint32_t layer) __attribute__((weak));\n"
    yield f"static _Alignas({ALIGNMENT}) uint8_t arena[{max(plan.arena_bytes, 1)}];"
    yield f"static _Alignas({ALIGNMENT}) uint8_t scratch[{max(plan.scratch_bytes, 1)}];\n"
    for call in calls:
        for name, array in call.constants.items():
            yield _array_source(constant_symbol(call, name), array)
    for call in {call.symbol: call for call in calls}.values():
        yield _prototype(call)
    yield "static void mark(uint32_t layer)\n{\n    if (prof_mark) {\n        prof_mark(layer);\n    }\n}\n"
    yield "__attribute__((visibility(\"default\"))) void repedge_run(const int8_t *input, int8_t *logits)\n{"
    for number in range(len(calls)):
        yield f"    mark({number});\n    {_call_source(calls, plan, number)}"
    yield f"    mark({OUTSIDE});\n}}"


def _array_source(symbol: str, array: NDArray[np.integer]) -> str:
    numbers = [str(value) for value in array.reshape(-1).tolist()]
    lines = [", ".join(numbers[start : start + 16]) for start in range(0, len(numbers), 16)]
    # INT32_MIN cannot be written as a literal
    body = ",\n    ".join(lines).replace("-2147483648", "INT32_MIN")
    return f"static const {C_TYPES[str(array.dtype)]} {symbol}[{array.size}] = {{\n    {body}}};\n"


def _prototype(call: KernelCall) -> str:
    constants = [f"const {C_TYPES[str(array.dtype)]} *{name}" for name, array in call.constants.items()]
    scratch = [_pointer(spec) for spec in call.scratch]
    parameters = [f"const {_pointer(call.input)}", *constants, *scratch, _pointer(call.output)]
    return f"void {call.symbol}({', '.join(parameters)});\n"


def _pointer(spec: TensorSpec) -> str:
    return f"{C_TYPES[spec.dtype]} *{spec.name}"


def _call_source(calls: tuple[KernelCall, ...], plan: MemoryPlan, number: int) -> str:
    call = calls[number]
    source = "input" if number == 0 else f"(const int8_t *)(arena + {plan.outputs[number - 1]})"
    result = "logits" if number == len(calls) - 1 else f"(int8_t *)(arena + {plan.outputs[number]})"
    constants = [constant_symbol(call, name) for name in call.constants]
    scratch = [
        f"({C_TYPES[spec.dtype]} *)(void *)(scratch + {offset})"
        for spec, offset in zip(call.scratch, plan.scratch[number], strict=True)
    ]
    return f"{call.symbol}({', '.join([source, *constants, *scratch, result])});"
