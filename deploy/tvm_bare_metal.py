"""TVM's kernels in our firmware on a microcontroller: the row that our own kernels are compared with.

A target's name with `tvm-` before it asks for it: `repedge deploy … --target cortex-m4,tvm-cortex-m4`. The kernels are the
portable schedules, which LLVM compiles for the core.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from convert.tvm_module import FILE_NAME, KernelCall, kernel_calls
from deploy.cortex_m import firmware_memory
from deploy.cortex_m_entry import target_entry
from deploy.cycles import Estimate, estimate_cycles
from deploy.disassembly import disassemble
from deploy.elf_sizes import ARENA_SYMBOL, measure_image
from deploy.elf_symbols import ElfImage, read_elf
from deploy.firmware_build import build_firmware
from deploy.firmware_run import mean_instructions, profile_image, run_images
from deploy.profile import LAYERS_MAX, Profile
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.targets import TVM_PREFIX, CortexMTarget
from deploy.tvm_build import scheduled_module
from deploy.tvm_firmware import (
    firmware_options,
    table_symbol,
    verify_firmware,
    write_model_sources,
)
from deploy.tvm_lower import write_kernels_object
from train.artefact import sha256_file
from train.errors import Mismatch, UnsupportedLayer

STACK_BYTES = 4096  # TVM keeps the sums of a tile on the stack


def deploy_tvm_bare_metal(converted: ConvertedModel, target: CortexMTarget, out: Path, *, images: int) -> BackendResult:
    """Build for `target`, run the first `images` test vectors, profile the first one."""
    vectors = converted.vectors.first(images)
    calls = _kernel_calls(converted)
    names = tuple(shape.name for shape in converted.model.shapes())
    write_model_sources(calls, names, out / "model", module_sha256=sha256_file(converted.folder / FILE_NAME))
    write_kernels_object(calls, firmware_options(target.core), out / "kernels.o")
    memory = dataclasses.replace(firmware_memory(target), stack_bytes=max(target.stack_bytes, STACK_BYTES))
    elf = build_firmware(out / "model", target.core, out / "build", memory=memory, objects=(out / "kernels.o",))
    image = read_elf(elf)
    verify_firmware(image, calls, converted.model)
    logits, facts = run_images(target, elf, out / "run", vectors=vectors)
    profile = profile_image(target, elf, out, vectors=vectors)
    _check_stores(profile, image, names)
    cycles = estimate_cycles(profile, disassemble(elf, target.core, out / "disassembly.txt"), target, len(calls))
    entry = target_entry(target, measure_image(image), profile, cycles, facts, image)
    entry["name"] = target.name
    entry["instructions_mean"] = mean_instructions(target, elf, out, vectors=vectors, layers=len(calls))
    entry["layers"] = _layer_entries(converted, calls, image, profile, cycles)
    return proven(f"tvm_{target.name.removeprefix(TVM_PREFIX)}", converted.vectors, logits, target=entry)


def _kernel_calls(converted: ConvertedModel) -> tuple[KernelCall, ...]:
    module, _ = scheduled_module(converted, "portable")
    calls = kernel_calls(module)
    if len(calls) > LAYERS_MAX:
        raise UnsupportedLayer(f"{len(calls)} layers, allowed are up to {LAYERS_MAX}; use a net with fewer blocks")
    return calls


def _check_stores(profile: Profile, image: ElfImage, names: tuple[str, ...]) -> None:
    """No layer stores to RAM above the stack but in the arena."""
    arena = image.symbol(ARENA_SYMBOL)
    for layer, name in enumerate(names[:-1]):  # the last writes logits to the stack
        touched = profile.buckets[layer].touched
        if touched is not None and not (arena.address <= touched[0] and touched[1] <= arena.end):
            raise Mismatch(
                f"layer {name}: stores to {touched[0]:#x} to {touched[1]:#x}, the arena is {arena.address:#x} to "
                f"{arena.end:#x}; report it as a bug"
            )


def _layer_entries(
    converted: ConvertedModel,
    calls: tuple[KernelCall, ...],
    image: ElfImage,
    profile: Profile,
    cycles: tuple[Estimate, ...],
) -> list[dict[str, Any]]:
    bit_widths = {layer.name: layer.bit_width for layer in converted.model.layers}
    seen: set[str] = set()
    entries = []
    for number, (call, shape, estimate) in enumerate(zip(calls, converted.model.shapes(), cycles, strict=True)):
        constants = sum(image.symbol(table_symbol(shape.name, name)).size for name in call.constants)
        code = 0 if call.symbol in seen else image.symbol(call.symbol).size
        seen.add(call.symbol)
        entries.append(
            {
                "name": shape.name,
                "op": shape.kind,
                "macs": shape.macs,
                "bit_width": bit_widths.get(shape.name),
                "flash_bytes": constants + code,
                "ram_bytes": sum(spec.size_bytes for spec in (call.input, *call.scratch, call.output)),
                "scratch_bytes": sum(spec.size_bytes for spec in call.scratch),
                "instructions": profile.buckets[number].instructions,
                "cycles_estimated": estimate.mid,
                "cycles_estimated_band": estimate.to_json(),
            }
        )
    return entries
