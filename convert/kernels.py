"""All convolution kernels, and the choice of one per layer for a core.

Scratch counts only where it raises the arena, whose size is that of the neediest layer: input, output and scratch. So a
choice first settles the arena for the whole model, and then each layer takes the fastest kernel that fits into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Literal

from convert.integer_model import IntegerModel, LayerShape, QuantizedConv
from convert.kernel import ConvKernel, KernelChoice
from convert.kernels_dsp import DSP_DIRECT, DSP_FIRST
from convert.kernels_mve import MVE_DIRECT, MVE_FIRST
from convert.kernels_portable import PORTABLE
from convert.kernels_winograd import WINOGRAD_KERNELS

Prefer = Literal["speed", "ram", "flash"]

KERNELS: tuple[ConvKernel, ...] = (PORTABLE, DSP_DIRECT, DSP_FIRST, *WINOGRAD_KERNELS, MVE_DIRECT, MVE_FIRST)
ALIGNMENT = 16  # bytes; REPEDGE_ARENA_ALIGNMENT
WORTH = 1.02  # a larger arena must save more than this factor of the model's instructions

Front = list[tuple[int, KernelChoice]]  # (arena, choice), smallest arena first, each faster than all before


def choose_kernels(
    model: IntegerModel, core: str | None, *, prefer: Prefer = "speed", ram_limit: int | None = None
) -> tuple[KernelChoice, ...]:
    """One choice per convolution, in order. `ram_limit`: bytes of arena, kept to where the kernels can.

    `core=None` takes what runs everywhere. `speed`: fewest instructions, in an arena no larger than is worth it; `ram`: the
    smallest arena, and fewest instructions in it; `flash`: the portable kernel everywhere, which is the least code.
    """
    core = None if prefer == "flash" else core
    fronts = [front(shape, conv_choices(conv, shape, core)) for conv, shape in conv_layers(model)]
    arenas = arena_steps(fronts)
    allowed = [arena for arena in arenas if ram_limit is None or arena <= ram_limit] or arenas[:1]
    if prefer != "speed":
        return fastest_within(fronts, arenas[0])
    fewest = _instructions(fastest_within(fronts, allowed[-1]))
    worth = (fastest_within(fronts, arena) for arena in allowed)
    return next(choices for choices in worth if _instructions(choices) <= WORTH * fewest)


def conv_layers(model: IntegerModel) -> list[tuple[QuantizedConv, LayerShape]]:
    """The convolutions with their sizes."""
    return list(zip(model.convs, (shape for shape in model.shapes() if shape.kind == "conv"), strict=True))


def smallest_arena(model: IntegerModel, core: str | None) -> int:
    """Bytes of the smallest arena in which the model runs on the core."""
    return arena_steps([front(shape, conv_choices(conv, shape, core)) for conv, shape in conv_layers(model)])[0]


def front(shape: LayerShape, choices: Iterable[KernelChoice]) -> Front:
    """The choices of a layer that no other one beats in both arena and instructions; empty only without any choice."""
    found: Front = []
    sized = ((arena_bytes(shape, choice), choice) for choice in choices)
    for arena, choice in sorted(sized, key=lambda pair: (pair[0], pair[1].instructions, pair[1].scratch_bytes)):
        if not found or choice.instructions < found[-1][1].instructions:
            found.append((arena, choice))
    return found


def arena_steps(fronts: Sequence[Front]) -> list[int]:
    """Every size of the arena at which some layer can take a faster kernel, the smallest possible one first."""
    least = max(layer[0][0] for layer in fronts)
    return sorted({least, *(arena for layer in fronts for arena, _ in layer if arena > least)})


def fastest_within(fronts: Sequence[Front], arena: int) -> tuple[KernelChoice, ...]:
    """Each layer's fastest choice in that arena, which is at least the smallest one."""
    return tuple([choice for size, choice in layer if size <= arena][-1] for layer in fronts)


def _instructions(choices: Iterable[KernelChoice]) -> float:
    return sum(choice.instructions for choice in choices)


def choose_alone(
    conv: QuantizedConv, shape: LayerShape, core: str | None, *, prefer: Prefer = "speed", ram_limit: int | None = None
) -> KernelChoice | None:
    """What a model of this one layer would get; None where none of its kernels keeps to the limit.

    In a larger model the layer may get more of the arena, or give up a little speed for a smaller one.
    """
    choices = front(shape, conv_choices(conv, shape, None if prefer == "flash" else core))
    within = [choice for arena, choice in choices if ram_limit is None or arena <= ram_limit]
    if not within:
        return None
    if prefer != "speed":
        return within[0]
    return next(choice for choice in within if choice.instructions <= WORTH * within[-1].instructions)


def arena_bytes(shape: LayerShape, choice: KernelChoice) -> int:
    """What a layer with that kernel needs of the arena: input, output and scratch, each aligned."""
    tensors = [_align(prod(hwc)) for hwc in (shape.input_hwc, shape.output_hwc)]
    return (max(tensors) if choice.in_place else sum(tensors)) + _align(choice.scratch_bytes)


def conv_choices(conv: QuantizedConv, shape: LayerShape, core: str | None) -> list[KernelChoice]:
    """Every kernel and strip that can run the layer on that core; never empty."""
    return [
        kernel_choice(kernel, conv, shape, strip)
        for kernel in KERNELS
        if kernel.runs_on(core) and kernel.obstacle(conv, shape) is None
        for strip in kernel.strip_choices(conv, shape)
    ]


def kernel_choice(kernel: ConvKernel, conv: QuantizedConv, shape: LayerShape, strip_channels: int) -> KernelChoice:
    """The choice of a kernel and strip, with its scratch and estimated instructions."""
    scratch = kernel.scratch_bytes(conv, shape, strip_channels)
    instructions = kernel.instructions(conv, shape, strip_channels)
    return KernelChoice(kernel, strip_channels, scratch, instructions, kernel.in_place(conv, shape, strip_channels))


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
