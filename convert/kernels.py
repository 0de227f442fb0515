"""All convolution kernels, and the choice of one per layer for a core."""

from __future__ import annotations

from typing import Literal

from convert.integer_model import IntegerModel, LayerShape, QuantizedConv
from convert.kernel import ConvKernel, KernelChoice
from convert.kernels_dsp import DSP_DIRECT, DSP_FIRST
from convert.kernels_mve import MVE_DIRECT, MVE_FIRST
from convert.kernels_portable import PORTABLE
from convert.kernels_winograd import WINOGRAD_KERNELS

Prefer = Literal["speed", "ram", "flash"]

KERNELS: tuple[ConvKernel, ...] = (PORTABLE, DSP_DIRECT, DSP_FIRST, *WINOGRAD_KERNELS, MVE_DIRECT, MVE_FIRST)


def choose_kernels(
    model: IntegerModel, core: str | None, *, prefer: Prefer = "speed", ram_limit: int | None = None
) -> tuple[KernelChoice, ...]:
    """One choice per convolution, in order. `ram_limit` bounds each layer's scratch in bytes where a kernel allows it.

    `core=None` takes what runs everywhere. `speed`: fewest instructions; `ram`: least scratch, then fewest instructions;
    `flash`: the portable kernel everywhere, which is the least code.
    """
    shapes = [shape for shape in model.shapes() if shape.kind == "conv"]
    return tuple(
        _best(conv_choices(conv, shape, None if prefer == "flash" else core), prefer, ram_limit)
        for conv, shape in zip(model.convs, shapes, strict=True)
    )


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
    return KernelChoice(kernel, strip_channels, scratch, kernel.instructions(conv, shape, strip_channels))


def _best(choices: list[KernelChoice], prefer: Prefer, ram_limit: int | None) -> KernelChoice:
    fitting = [choice for choice in choices if ram_limit is None or choice.scratch_bytes <= ram_limit]
    if prefer == "ram" or not fitting:
        return min(fitting or choices, key=lambda choice: (choice.scratch_bytes, choice.instructions))
    return min(fitting, key=lambda choice: (choice.instructions, choice.scratch_bytes))
