"""A TVM module as a library that TVM's own runtime loads: `librepedge_packed.so`, functions in TVM's packed convention.

    executable = tvm_ffi.load_module("./librepedge_packed.so")   # after libtvm_runtime.so is loaded
    machine = executable["vm_load_executable"]()
    machine["vm_initialization"](1, 0, 2)                        # CPU 0, pooled allocator
    logits = machine["main"](image)                              # int8 (H, W, C), pixel - 128 -> int8 (classes,)

Kernels, schedules and constants are those of the library with the plain C interface.
"""

from __future__ import annotations

from pathlib import Path

import tvm
from tvm.support import cc

from convert.tvm_module import kernel_calls
from deploy.tool import find_tool
from deploy.tvm_lower import TargetOptions
from train.artefact import atomic_path
from train.errors import Mismatch

PACKED_NAME = "librepedge_packed.so"
LINK_OPTIONS = ("-shared", "-fPIC", "-Wl,--build-id=none", "-Wl,-z,noexecstack")


def write_packed_library(module: tvm.IRModule, options: TargetOptions, compiler: str, path: Path) -> None:
    """Compile the scheduled module and link it; every constant is found again in the file's bytes."""
    find_tool(compiler)
    target = tvm.target.Target(dict(options))
    executable = tvm.compile(module, target=target.with_host(target))
    with atomic_path(path) as temporary:
        # the linker is told the kind of file by its name
        library = temporary.with_suffix(".so")
        executable.export_library(str(library), fcompile=cc.cross_compiler(compiler), options=list(LINK_OPTIONS))
        library.replace(temporary)
    _verify(module, path)


def _verify(module: tvm.IRModule, path: Path) -> None:
    content = path.read_bytes()
    for call in kernel_calls(module):
        for name, array in call.constants.items():
            if array.tobytes() not in content:
                raise Mismatch(
                    f"{path}: {name} of {call.name} is not in the file; every constant must be; build it again"
                )
