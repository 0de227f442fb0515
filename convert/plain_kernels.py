"""Which kernel pools and classifies on a core, and about what it costs; there is one of each per core, so nothing to choose."""

from __future__ import annotations

from math import prod

from convert.integer_model import LayerShape

MVE_CORES = frozenset({"cortex-m55"})


def plain_kernel_name(shape: LayerShape, core: str | None) -> str:
    """The name under which plans and reports show it.

    >>> plain_kernel_name(LayerShape("pool", "pool", (4, 4, 8), (1, 1, 8), 0), "cortex-m55")
    'mve_average_pool'
    """
    operation = "average_pool" if shape.kind == "pool" else "fully_connected"
    return f"{'mve' if core in MVE_CORES else 'portable'}_{operation}"


def plain_instructions(shape: LayerShape, bit_width: int | None, core: str | None) -> float:
    """Estimated instructions, fitted to emulation of the Cortex-M4 and M55; the layers are small, so a third off matters little."""
    if shape.kind == "pool":
        channels = shape.input_hwc[2]
        return (0.35 if core in MVE_CORES else 3.0) * prod(shape.input_hwc) + 16 * channels
    per_weight = 8.0 if bit_width == 8 else 12.0
    return (1.0 if core in MVE_CORES else per_weight) * shape.macs + 60 * shape.output_hwc[2]
