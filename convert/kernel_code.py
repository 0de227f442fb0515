"""How many bytes of code each kernel brings into an image, for estimates before anything is built.

Bytes of `.text` and `.rodata` with the project's flags (gcc 12.2), as `deploy/code_bytes.py` reads them from a linker map.
"""

from __future__ import annotations

from collections.abc import Iterable

# part of the code -> bytes; kernels of a family share parts
PART_BYTES = {
    "portable": 1372,
    "dsp_strip": 3406,  # rows and groups around the assembly, and the assembly
    "dsp_decode": 604,
    "direct": 308,
    "first": 568,
    "winograd": 1660,
    "winograd2": 1852,
    "winograd4": 4436,
    "mve_strip": 1952,
    "mve_tiles": 6052,
    "mve_direct": 1876,
    "mve_first": 1532,
}
# C function -> parts
PARTS = {
    "repedge_conv3x3_s8": ("portable",),
    "repedge_conv3x3_s8_direct": ("dsp_strip", "dsp_decode", "direct"),
    "repedge_conv3x3_s8_first": ("dsp_strip", "dsp_decode", "first"),
    "repedge_conv3x3_s8_winograd2": ("dsp_decode", "winograd", "winograd2"),
    "repedge_conv3x3_s8_winograd4": ("dsp_decode", "winograd", "winograd4"),
    "repedge_conv3x3_s8_mve_direct": ("mve_strip", "mve_tiles", "mve_direct"),
    "repedge_conv3x3_s8_mve_first": ("mve_strip", "mve_tiles", "mve_first"),
}


def kernel_code_bytes(functions: Iterable[str]) -> int:
    """Estimated code of a set of kernels.

    >>> kernel_code_bytes({"repedge_conv3x3_s8_direct", "repedge_conv3x3_s8_first"})
    4886
    """
    return sum(PART_BYTES[part] for part in {part for function in functions for part in PARTS[function]})
