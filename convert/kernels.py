"""All convolution kernels, and the choice of one per layer for a core.

Scratch counts only where it raises the arena, whose size is that of the neediest layer: input, output and scratch. So a
choice first settles the arena, and then each layer takes the fastest kernel that fits into it.
"""

from __future__ import annotations

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
WORTH = 1.02  # a larger arena must save more than this factor of a layer's instructions


def choose_kernels(
    model: IntegerModel, core: str | None, *, prefer: Prefer = "speed", ram_limit: int | None = None
) -> tuple[KernelChoice, ...]:
    """One choice per convolution, in order. `ram_limit`: bytes of arena, kept to where the kernels can.

    `core=None` takes what runs everywhere. `speed`: fewest instructions, in an arena no larger than is worth it; `ram`: the
    smallest arena, and fewest instructions in it; `flash`: the portable kernel everywhere, which is the least code.
    """
    shapes = [shape for shape in model.shapes() if shape.kind == "conv"]
    core = None if prefer == "flash" else core
    choices = [conv_choices(conv, shape, core) for conv, shape in zip(model.convs, shapes, strict=True)]
    first = _frugal if prefer == "speed" else _smallest
    arena = max(
        arena_bytes(shape, first(_fitting(own, shape, ram_limit), shape))
        for own, shape in zip(choices, shapes, strict=True)
    )
    return tuple(_fastest(_fitting(own, shape, arena)) for own, shape in zip(choices, shapes, strict=True))


def choose_alone(
    conv: QuantizedConv, shape: LayerShape, core: str | None, *, prefer: Prefer = "speed", ram_limit: int | None = None
) -> KernelChoice | None:
    """What `choose_kernels` settles a layer's arena with; None where none of its kernels keeps to the limit.

    In a model the layer may get a larger arena from another one, and then takes no more instructions than this.
    """
    choices = conv_choices(conv, shape, None if prefer == "flash" else core)
    within = [choice for choice in choices if ram_limit is None or arena_bytes(shape, choice) <= ram_limit]
    if not within:
        return None
    return _frugal(within, shape) if prefer == "speed" else _smallest(within, shape)


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


def _fitting(choices: list[KernelChoice], shape: LayerShape, limit: int | None) -> list[KernelChoice]:
    """Those within the limit, or else the one that needs least."""
    fitting = [choice for choice in choices if limit is None or arena_bytes(shape, choice) <= limit]
    return fitting or [_smallest(choices, shape)]


def _fastest(choices: list[KernelChoice]) -> KernelChoice:
    return min(choices, key=lambda choice: (choice.instructions, choice.scratch_bytes))


def _smallest(choices: list[KernelChoice], shape: LayerShape) -> KernelChoice:
    return min(choices, key=lambda choice: (arena_bytes(shape, choice), choice.instructions))


def _frugal(choices: list[KernelChoice], shape: LayerShape) -> KernelChoice:
    """Nearly the fastest, in the smallest arena."""
    fewest = _fastest(choices).instructions
    return _smallest([choice for choice in choices if choice.instructions <= WORTH * fewest], shape)


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
