"""A TVM module as a shared library with a plain C interface: `librepedge_model.so`, `repedge_model.h` and a small runner.

Kernels by LLVM, the rest by the target's C compiler; no TVM runtime is linked. Names are relative to the build folder, so
that two builds of the same module give the same bytes.
"""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tvm
from numpy.typing import NDArray

from convert.integer_model import IntegerModel
from convert.reference import quantize_images
from convert.tvm_module import (
    FILE_NAME,
    KernelCall,
    build_tvm_module,
    kernel_calls,
    load_tvm_module,
    verify_constants,
    verify_tvm_module,
)
from convert.tvm_schedule import Schedule, VectorName, default_schedule
from deploy.elf_symbols import ElfImage, read_elf
from deploy.profile import LAYERS_MAX
from deploy.result import ConvertedModel
from deploy.targets import CortexATarget
from deploy.tool import find_tool, run_tool
from deploy.tvm_glue import NAME, MemoryPlan, constant_symbol, glue_source, header_source, plan_memory
from deploy.tvm_lower import TargetOptions, write_kernels_object
from deploy.tvm_packed import PACKED_NAME, write_packed_library
from train.artefact import sha256_file, write_bytes, write_json, write_text
from train.errors import ToolFailed, UnsupportedLayer

RUNNER_SOURCE = Path(__file__).parent / "runner" / "runner.c"
RUNNER_NAME = "runner"
LIBRARY_NAME = f"lib{NAME}.so"
IMAGES_NAME, LOGITS_NAME = "images.bin", "logits.bin"
SCHEDULES_NAME = "schedules.json"

# ucontext.h, which the runner measures its stack with, is part of XSI
COMPILE_FLAGS = ("-std=c11", "-D_XOPEN_SOURCE=700", "-O2", "-Wall", "-Wextra", "-Werror")
LIBRARY_FLAGS = ("-fPIC", "-fvisibility=hidden", "-ffunction-sections")
# bound at load, so that the first call of a function costs what every other does
LINK_FLAGS = ("-Wl,-z,now", "-Wl,--build-id=none", "-Wl,--gc-sections")
EXPORTS = "{ global: repedge_run; local: *; };\n"


@dataclass(frozen=True)
class BuildTarget:
    """TVM's target options and the C compiler that goes with them."""

    options: TargetOptions
    compiler: str
    flags: tuple[str, ...] = ()
    vector: VectorName = "portable"
    packed: bool = False  # also a library for TVM's own runtime


@dataclass(frozen=True)
class ModelLibrary:
    """A finished build in `folder`, whose constants were read back and verified."""

    folder: Path
    calls: tuple[KernelCall, ...]
    plan: MemoryPlan
    image: ElfImage

    @property
    def runner(self) -> Path:
        """The program that runs the library over a file of images."""
        return self.folder / RUNNER_NAME


def host_target() -> BuildTarget:
    """This machine's kind of processor, at a level that all its members have."""
    machine = platform.machine()
    options: dict[str, object] = {"kind": "llvm", "mtriple": f"{machine}-linux-gnu"}
    if machine == "x86_64":
        options["mcpu"] = "x86-64-v2"
    return BuildTarget(options, "cc")


def cortex_a_target(target: CortexATarget) -> BuildTarget:
    """Cross compilation for an ARM Linux core."""
    options: dict[str, object] = {"kind": "llvm", "mtriple": target.triple, "mattr": list(target.features)}
    options["mcpu"] = target.scheduler_cpu or target.cpu
    if target.triple.endswith("eabihf"):
        options["mfloat-abi"] = "hard"
    flags = (f"-mcpu={target.cpu}", *target.compiler_flags)
    # TVM publishes its runtime for AArch64, not for Armv7-A
    packed = target.triple.startswith("aarch64")
    return BuildTarget(options, target.compiler, flags, target.vector, packed)


def scheduled_module(
    converted: ConvertedModel, vector: VectorName, tuned: Mapping[str, Schedule] | None = None
) -> tuple[tvm.IRModule, dict[str, Schedule]]:
    """The convert folder's TVM module, verified, with its convolutions scheduled for the vector instructions.

    `tuned` names the schedule of some layers; the others get the default one.
    """
    module = load_tvm_module(converted.folder / FILE_NAME)
    verify_tvm_module(module, converted.model)
    shapes = converted.model.shapes()
    schedules = {
        conv.name: (tuned or {}).get(conv.name) or default_schedule(conv, shape, vector)
        for conv, shape in zip(converted.model.convs, shapes, strict=False)
    }
    if any(schedule.vector != "portable" for schedule in schedules.values()):
        module = build_tvm_module(converted.model, schedules)
        verify_tvm_module(module, converted.model)
    return module, schedules


def build_library(
    converted: ConvertedModel,
    target: BuildTarget,
    folder: Path,
    *,
    tuned: Mapping[str, Schedule] | None = None,
) -> ModelLibrary:
    """Build library, header and runner from the convert folder's TVM module and read the constants back."""
    find_tool(target.compiler)  # before the folder holds anything
    module, schedules = scheduled_module(converted, target.vector, tuned)
    calls = kernel_calls(module)
    if len(calls) > LAYERS_MAX:
        raise UnsupportedLayer(f"{len(calls)} layers, allowed are up to {LAYERS_MAX}; use a net with fewer blocks")
    plan, digest = plan_memory(calls), sha256_file(converted.folder / FILE_NAME)
    folder.mkdir(parents=True, exist_ok=True)
    write_kernels_object(calls, target.options, folder / "kernels.o")
    write_text(folder / f"{NAME}.h", header_source(calls, plan, module_sha256=digest))
    write_text(folder / f"{NAME}.c", glue_source(calls, plan, module_sha256=digest))
    write_text(folder / "exports.map", EXPORTS)
    write_json(folder / SCHEDULES_NAME, {name: asdict(schedule) for name, schedule in schedules.items()})
    shutil.copyfile(RUNNER_SOURCE, folder / RUNNER_SOURCE.name)
    _compile(target, folder)
    if target.packed:
        write_packed_library(module, target.options, target.compiler, folder / PACKED_NAME)
    library = ModelLibrary(folder, calls, plan, read_elf(folder / LIBRARY_NAME))
    verify_library(library, converted.model)
    return library


def _compile(target: BuildTarget, folder: Path) -> None:
    command = [target.compiler, *target.flags, *COMPILE_FLAGS]
    library = [*LIBRARY_FLAGS, "-shared", "-o", LIBRARY_NAME, f"{NAME}.c", "kernels.o", *LINK_FLAGS]
    run_tool(
        [*command, *library, f"-Wl,-soname,{LIBRARY_NAME}", "-Wl,--version-script=exports.map"],
        cwd=folder,
        log=folder / "library.log",
    )
    # at fixed addresses, because the counting plugin watches prof_marks by its address
    program = ["-no-pie", "-rdynamic", "-o", RUNNER_NAME, RUNNER_SOURCE.name, "-L.", f"-l{NAME}", *LINK_FLAGS]
    run_tool([*command, *program, "-Wl,-rpath,$ORIGIN"], cwd=folder, log=folder / "runner.log")


def read_constants(library: ModelLibrary, call: KernelCall) -> dict[str, NDArray[np.integer]]:
    """The constants of one kernel as the library's bytes have them; little-endian."""
    found = {}
    for name, array in call.constants.items():
        content = library.image.read(library.image.symbol(constant_symbol(call, name)))
        found[name] = np.frombuffer(content, array.dtype.newbyteorder("<")).astype(array.dtype).reshape(array.shape)
    return found


def verify_library(library: ModelLibrary, model: IntegerModel) -> None:
    """Raise `Mismatch` naming the first layer whose constants in the library are not the integer model's."""
    weighted = {layer.name: layer for layer in model.layers}
    for call, shape in zip(library.calls, model.shapes(), strict=True):
        verify_constants(shape.name, read_constants(library, call), weighted.get(shape.name))


def write_images(folder: Path, images: NDArray[np.uint8]) -> None:
    """The runner's input file."""
    write_bytes(folder / IMAGES_NAME, quantize_images(images).tobytes())


def read_logits(folder: Path, images: int, classes: int) -> NDArray[np.int8]:
    """The runner's output file, (images, classes)."""
    path = folder / LOGITS_NAME
    content = path.read_bytes()
    if len(content) != images * classes:
        raise ToolFailed(
            f"{path}: {len(content)} bytes, {images * classes} are expected; the runner stopped early; run the stage again"
        )
    return np.frombuffer(content, np.int8).reshape(images, classes)


def stack_bytes(output: str) -> int:
    """Peak stack that the runner measured and printed."""
    found = re.search(r"^stack_bytes (\d+)$", output, re.MULTILINE)
    if found is None:
        raise ToolFailed(f"runner: printed {output!r}, a line 'stack_bytes N' is expected; build it again")
    return int(found[1])
