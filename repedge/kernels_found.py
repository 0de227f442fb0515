"""Which kernels a finished C file or program was built for: the plan its indices' order and its layer table follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from convert.c_layers import layer_symbol
from convert.integer_model import IntegerModel, LayerShape, QuantizedConv
from convert.kernel import ConvKernel, KernelChoice, unpack_in_order
from convert.kernels import KERNELS, kernel_choice
from convert.kernels_portable import PORTABLE
from convert.memory_plan import MemoryPlan, plan_memory
from convert.stored import stored_layer
from deploy.elf_symbols import ElfImage


def plan_of_tables(model: IntegerModel, layers: Sequence[Mapping[str, str]]) -> MemoryPlan:
    """The plan that written C tables name; `layers` are the fields of their layer table."""
    shapes = [shape for shape in model.shapes() if shape.kind == "conv"]
    given = zip(model.convs, shapes, layers, strict=False)
    return plan_memory(model, tuple(_named_choice(conv, shape, fields) for conv, shape, fields in given))


def _named_choice(conv: QuantizedConv, shape: LayerShape, fields: Mapping[str, str]) -> KernelChoice:
    """Kernels may share a C function and differ in scratch; an unknown one is read as portable and so found to differ."""
    strip, scratch = int(fields["strip_channels"]), int(fields["scratch_bytes"])
    for kernel in KERNELS:
        if kernel.constant == fields["kernel"] and kernel.obstacle(conv, shape) is None:
            choice = kernel_choice(kernel, conv, shape, strip)
            if choice.scratch_bytes == scratch:
                return choice
    return kernel_choice(PORTABLE, conv, shape, PORTABLE.strip_choices(conv, shape)[0])


def plan_of_program(model: IntegerModel, image: ElfImage) -> MemoryPlan:
    """A plan whose kernels read the indices in the order in which they lie in the program; only that of it is meant."""
    choices = [KernelChoice(_kernel_by_order(conv, image), 0, 0, 0.0) for conv in model.convs]
    return plan_memory(model, tuple(choices))


def _kernel_by_order(conv: QuantizedConv, image: ElfImage) -> ConvKernel:
    """The kernel in whose order the bytes are the layer's indices; portable where there is none, which then differs."""
    packed = np.frombuffer(image.read(image.symbol(f"{layer_symbol(conv.name)}_indices")), np.uint8)
    stored = stored_layer(conv)
    for kernel in KERNELS:
        indices = unpack_in_order(packed, stored.bit_width, kernel.order, conv.indices.shape)
        if indices is not None and np.array_equal(indices, stored.indices):
            return kernel
    return PORTABLE
