"""Kernel code is read from the linker's map, and the planner's table of it is what the build gives."""

from __future__ import annotations

import pytest

from convert.kernel_code import kernel_code_bytes
from deploy.code_bytes import parse_code_bytes, read_code_bytes
from deploy.kernel_runner import build_kernel_runner
from tests.need import need
from train.errors import ArtefactError

GLUE = ("average_pool", "fully_connected", "_invoke", "_model", "_prof")
DSP = ("", "_direct", "_first", "_winograd2", "_winograd4")


def test_only_the_runtime_and_libgcc_count():
    text = """
 .text.main     0x00000100       0x40 CMakeFiles/repedge.elf.dir/main.c.obj
 .text.a        0x00000140       0x10 librepedge_runtime.a(a.c.obj)
 .rodata.a      0x00000150        0x4 librepedge_runtime.a(a.c.obj)
 .text.long_name
                0x00000160       0x20 librepedge_runtime.a(b.S.obj)
 .bss.c         0x20000000      0x100 librepedge_runtime.a(c.c.obj)
 .rodata.model_conv0_indices
                0x00000200      0x900 libmodel.a(model_data.c.obj)
 .text          0x00000b00       0x30 /usr/lib/thumb/libgcc.a(_udivsi3.o)
 .text          0x00000b30       0x50 /usr/lib/thumb/libc_nano.a(memset.o)
"""
    found = parse_code_bytes(text)
    assert (found.objects, found.libgcc, found.total) == ({"a.c.obj": 0x14, "b.S.obj": 0x20}, 0x30, 0x64)


def test_a_file_that_is_no_map_is_refused(tmp_path):
    (tmp_path / "repedge.map").write_text("nothing")
    with pytest.raises(ArtefactError, match="a map of GNU ld has one"):
        read_code_bytes(tmp_path / "repedge.map")


@pytest.mark.parametrize(("core", "suffixes"), [("cortex-m4", DSP), ("cortex-m55", ("", "_mve_direct", "_mve_first"))])
def test_estimated_code_of_all_kernels_is_within_two_percent(core, suffixes, tmp_path):
    need("arm-none-eabi-gcc", "cmake", "make")
    build_kernel_runner(core, tmp_path)
    objects = read_code_bytes(tmp_path / "repedge_kernels.map").objects
    kernels = sum(size for name, size in objects.items() if not any(part in name for part in GLUE))
    assert kernel_code_bytes({f"repedge_conv3x3_s8{suffix}" for suffix in suffixes}) == pytest.approx(kernels, rel=0.02)
