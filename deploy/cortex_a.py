"""Cortex-A: the TVM kernels cross-compiled, run by a user-mode emulator and counted exactly.

Bytes, logits and instructions are exact. Cycles and milliseconds are instructions over the target's range of instructions
per cycle: an estimate, because user-mode emulation models no pipeline, cache or clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convert.integer_model import IntegerModel
from convert.tvm_module import KernelCall
from convert.tvm_schedule import Schedule
from deploy.elf_symbols import ElfImage
from deploy.emulator import build_plugin, run_user
from deploy.profile import Profile
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.targets import CortexATarget
from deploy.tool import find_tool
from deploy.tvm_build import (
    IMAGES_NAME,
    LOGITS_NAME,
    ModelLibrary,
    build_library,
    cortex_a_target,
    read_logits,
    stack_bytes,
    write_images,
)
from deploy.tvm_glue import constant_symbol
from train.errors import Mismatch

RUN_TIMEOUT_S = 3600.0


def deploy_cortex_a(
    converted: ConvertedModel,
    target: CortexATarget,
    out: Path,
    *,
    images: int,
    tuned: Mapping[str, Schedule] | None = None,
) -> BackendResult:
    """Build for the target in `out`, run the first `images` test vectors twice, and report exact counts.

    `tuned` names the schedules of some layers.
    """
    find_tool(target.emulator)
    library = build_library(converted, cortex_a_target(target), out, tuned=tuned)
    plugin = build_plugin(out / "plugin")
    vectors = converted.vectors.first(images)
    write_images(out, vectors.images)
    profile, stack = _run(library, target, plugin)
    repeated, _ = _run(library, target, plugin)
    if repeated.buckets != profile.buckets:
        raise Mismatch(
            f"target {target.name}: {profile.instructions} instructions in the first run, {repeated.instructions} in the "
            "second; equal counts are expected; the emulator's environment must not change between runs"
        )
    logits = read_logits(out, len(vectors.images), vectors.logits.shape[1])
    instructions = profile.instructions_per_inference(len(library.calls), len(vectors.images))
    return proven(
        f"tvm_{target.name}",
        vectors,
        logits,
        target=target_entry(converted.model, target, library, instructions, stack),
    )


def _run(library: ModelLibrary, target: CortexATarget, plugin: Path) -> tuple[Profile, int]:
    """One counted run over the images in the build folder, and the peak stack it measured."""
    run = run_user(
        target,
        library.runner,
        (IMAGES_NAME, LOGITS_NAME),
        library.folder,
        plugin=plugin,
        timeout_s=RUN_TIMEOUT_S,
    )
    assert run.profile is not None  # a run with a plugin has one
    return run.profile, stack_bytes(run.output)


def target_entry(
    model: IntegerModel, target: CortexATarget, library: ModelLibrary, instructions: tuple[int, ...], stack: int
) -> dict[str, Any]:
    """The entry of report.json's `targets`; `instructions` per layer of one inference, `stack` in bytes."""
    total = sum(instructions)
    # more instructions per cycle are fewer cycles
    low, high = total / target.instructions_per_cycle_high, total / target.instructions_per_cycle_low
    cycles = {"low": round(low), "mid": round((low + high) / 2), "high": round(high)}
    return {
        "kind": target.kind,
        "flash_bytes": flash_bytes(library),
        "ram_bytes": ram_bytes(library.image, stack),
        "instructions": total,
        "cycles_estimated": cycles,
        "latency_ms_estimated": {key: value * 1000 / target.clock_hz for key, value in cycles.items()},
        "layers": _layer_entries(model, library, instructions),
    }


def _constant_bytes(image: ElfImage, call: KernelCall) -> int:
    return sum(image.symbol(constant_symbol(call, name)).size for name in call.constants)


def flash_bytes(library: ModelLibrary) -> dict[str, int]:
    """Bytes of the library that are loaded: machine code, the model's constants, all else (ELF tables, unwinding, padding)."""
    sections = [section for section in library.image.sections if section.loaded]
    total = sum(section.size for section in sections)
    code = sum(section.size for section in sections if section.code)
    weights = sum(_constant_bytes(library.image, call) for call in library.calls)
    return {"code": code, "weights": weights, "other": total - code - weights, "total": total}


def ram_bytes(image: ElfImage, stack: int) -> dict[str, int]:
    """Arena (activations and scratch), measured peak stack of an inference, and the library's other writable sections."""
    arena = image.symbol("arena").size + image.symbol("scratch").size
    writable = sum(section.size for section in image.sections if section.writable)
    return {"arena": arena, "stack": stack, "static": writable - arena, "total": writable + stack}


def _layer_entries(model: IntegerModel, library: ModelLibrary, instructions: tuple[int, ...]) -> list[dict[str, Any]]:
    """The rows of `layers`: flash is constants and, at its first user, kernel code; RAM is what lives during the call."""
    bit_widths = {layer.name: layer.bit_width for layer in model.layers}
    seen: set[str] = set()
    entries = []
    for call, shape, count in zip(library.calls, model.shapes(), instructions, strict=True):
        code = 0 if call.symbol in seen else library.image.symbol(call.symbol).size
        seen.add(call.symbol)
        entries.append(
            {
                "name": shape.name,
                "macs": shape.macs,
                "bit_width": bit_widths.get(shape.name),
                "flash_bytes": code + _constant_bytes(library.image, call),
                "ram_bytes": sum(spec.size_bytes for spec in (call.input, *call.scratch, call.output)),
                "instructions": count,
            }
        )
    return entries
