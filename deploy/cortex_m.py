"""A Cortex-M back end: firmware built, read back, run under emulation, counted, and told as a report's target entry.

The image that is measured is the one that runs, so its static RAM holds the profiler's marks (256 bytes), and its code
the reading of images and writing of logits; a product's image is smaller by both.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.c_layers import layer_symbol
from convert.c_source import verify_c_model, write_c_model
from convert.integer_model import IntegerModel
from convert.integer_model_file import save_integer_model
from convert.kernels import Prefer, choose_kernels
from convert.memory_plan import MemoryPlan, Placement, plan_memory
from convert.vectors import Vectors
from deploy.armv6m import check_armv6m
from deploy.cycles import MODELS, Estimate, estimate_cycles, latency_ms, sum_estimates
from deploy.disassembly import disassemble
from deploy.elf_sizes import ARENA_SYMBOL, STACK_SECTION, ElfSizes, measure_image, padded_weights
from deploy.elf_symbols import ElfImage, read_elf
from deploy.elf_weights import check_elf_weights
from deploy.emulator import build_plugin, run_system
from deploy.firmware_build import FirmwareMemory, build_firmware
from deploy.profile import Profile
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.targets import CortexMTarget
from train.artefact import sha256_file, write_bytes
from train.errors import Mismatch, ToolFailed

IMAGES_NAME = "images.bin"
MODEL_NAME = "model.safetensors"
RESERVED_RAM_BYTES = 1024  # static RAM beside arena and stack
LOGITS_NAME = "logits.bin"
TIMEOUT_S = 3600.0
MEAN_IMAGES = 8  # kernels branch on data where they saturate, so counts of images differ by a fraction of a percent
FACTS = re.compile(r"repedge: images=(\d+) arena_bytes=(\d+) stack_used_bytes=(\d+) stack_bytes=(\d+)")


@dataclass(frozen=True)
class FirmwareFacts:
    """What the firmware says of itself at its end; `stack_used_bytes` by the paint that is left on the stack."""

    images: int
    arena_bytes: int
    stack_used_bytes: int
    stack_bytes: int


def deploy_cortex_m(
    converted: ConvertedModel,
    target: CortexMTarget,
    out: Path,
    *,
    images: int,
    prefer: Prefer = "speed",
    ram_limit_bytes: int | None = None,
) -> BackendResult:
    """Build for `target`, run the first `images` test vectors, profile the first one; everything is written below `out`.

    The kernels are chosen for the target's core; their tables are written anew, in `out/model`. `ram_limit_bytes`, of
    static RAM and stack, is the chip's where it is not given.
    """
    model, vectors = converted.model, converted.vectors.first(images)
    plan = target_plan(model, target, prefer=prefer, ram_limit_bytes=ram_limit_bytes)
    elf = build_firmware(
        write_tables(model, plan, out / "model"), target.core, out / "build", memory=firmware_memory(target)
    )
    if target.core == "cortex-m0plus":
        check_armv6m(elf, out / "build" / "armv6m.txt")
    image = read_elf(elf)
    check_elf_weights(image, model, plan)
    logits, facts = run_images(target, elf, out / "run", vectors=vectors)
    _check_arena(facts, image, plan)
    profile = profile_image(target, elf, out, vectors=vectors)
    check_stores(profile, image, plan)
    cycles = estimate_cycles(
        profile, disassemble(elf, target.core, out / "disassembly.txt"), target, len(plan.placements)
    )
    entry = target_entry(target, measure_image(image), profile, cycles, facts, image)
    entry["instructions_mean"] = mean_instructions(target, elf, out, vectors=vectors, layers=len(plan.placements))
    entry["layers"] = _layer_entries(converted, plan, image, profile, cycles)
    notices = (
        (f"{target.name}: {len(logits)} images, {images} were asked for; the test split has no more",)
        if len(logits) < images
        else ()
    )
    return proven(f"firmware_{target.name}", converted.vectors, logits, target=entry, notices=notices)


def target_plan(
    model: IntegerModel, target: CortexMTarget, *, prefer: Prefer = "speed", ram_limit_bytes: int | None = None
) -> MemoryPlan:
    """Kernels and arena for a target, within the limit where the kernels can keep to it."""
    arena = min(ram_limit_bytes or target.ram.size_bytes, target.ram.size_bytes)
    arena -= target.stack_bytes + RESERVED_RAM_BYTES
    return plan_memory(model, choose_kernels(model, target.core, prefer=prefer, ram_limit=arena))


def write_tables(model: IntegerModel, plan: MemoryPlan, folder: Path) -> Path:
    """The C tables for this plan's kernels, read back and found equal to the model; returns the folder."""
    save_integer_model(model, folder / MODEL_NAME)
    write_c_model(model, folder, source_hash=sha256_file(folder / MODEL_NAME), plan=plan)
    verify_c_model(model, folder, plan)
    return folder


def firmware_memory(target: CortexMTarget) -> FirmwareMemory:
    """The chip's real sizes at the addresses where the emulated machine has memory."""
    return FirmwareMemory(
        flash_origin=target.flash.link_origin,
        flash_bytes=target.link_flash_bytes,
        ram_origin=target.ram.link_origin,
        ram_bytes=target.ram.size_bytes,
        stack_bytes=target.stack_bytes,
    )


def run_images(
    target: CortexMTarget, elf: Path, folder: Path, *, vectors: Vectors
) -> tuple[NDArray[np.int8], FirmwareFacts]:
    """int8 (N, classes) logits of all vectors and what the firmware printed; no plugin, so at full speed."""
    write_bytes(folder / IMAGES_NAME, np.ascontiguousarray(vectors.images).tobytes())
    (folder / LOGITS_NAME).unlink(missing_ok=True)
    run = run_system(target, elf, folder, timeout_s=TIMEOUT_S)
    return _read_logits(folder / LOGITS_NAME, vectors), _parse_facts(run.output, len(vectors.images))


def profile_image(target: CortexMTarget, elf: Path, folder: Path, *, vectors: Vectors) -> Profile:
    """Counts of the first vector's inference, from two runs that must agree to the instruction."""
    plugin = build_plugin(folder / "plugin")
    profiles = []
    for name in ("profile", "profile_again"):
        write_bytes(folder / name / IMAGES_NAME, vectors.first(1).images.tobytes())
        run = run_system(target, elf, folder / name, plugin=plugin, timeout_s=TIMEOUT_S)
        logits = _read_logits(folder / name / LOGITS_NAME, vectors.first(1))
        if not np.array_equal(logits, vectors.logits[:1]):
            raise Mismatch(f"{target.name}: the profiled run gives other logits than the reference; report it as a bug")
        profiles.append(run.counts)
    if profiles[0] != profiles[1]:
        raise Mismatch(
            f"{target.name}: two runs of one image count {profiles[0].instructions} and {profiles[1].instructions} "
            "instructions; equal counts are expected; report it as a bug"
        )
    return profiles[0]


def mean_instructions(
    target: CortexMTarget, elf: Path, folder: Path, *, vectors: Vectors, layers: int
) -> dict[str, float]:
    """Mean instructions of an inference over the first `MEAN_IMAGES` vectors: exact sum, divided by the images."""
    given = vectors.first(MEAN_IMAGES)
    write_bytes(folder / "mean" / IMAGES_NAME, given.images.tobytes())
    plugin = build_plugin(folder / "plugin")
    run = run_system(target, elf, folder / "mean", plugin=plugin, memory=False, timeout_s=TIMEOUT_S)
    return {"images": len(given.images), "mean": sum(run.counts.layer_instructions(layers)) / len(given.images)}


def _read_logits(path: Path, vectors: Vectors) -> NDArray[np.int8]:
    content = path.read_bytes() if path.is_file() else b""
    if len(content) != vectors.logits.size:
        raise ToolFailed(
            f"{path}: {len(content)} bytes of logits, {vectors.logits.size} are expected; see emulator.log beside it"
        )
    return np.frombuffer(content, np.int8).reshape(vectors.logits.shape)


def _parse_facts(output: str, images: int) -> FirmwareFacts:
    match = FACTS.search(output)
    if match is None or int(match[1]) != images:
        raise ToolFailed(f"the firmware did not report {images} images; its last words were: {output[-500:]!r}")
    return FirmwareFacts(*map(int, match.groups()))


def _check_arena(facts: FirmwareFacts, image: ElfImage, plan: MemoryPlan) -> None:
    linked = image.symbol(ARENA_SYMBOL).size
    if not facts.arena_bytes == linked == plan.arena_bytes:
        raise Mismatch(
            f"arena: {facts.arena_bytes} bytes at run time, {linked} linked, the plan says {plan.arena_bytes}; "
            "they must be equal; build the firmware again"
        )


def check_stores(profile: Profile, image: ElfImage, plan: MemoryPlan) -> None:
    """No layer stores to RAM above the stack but in its own part of the arena."""
    arena = image.symbol(ARENA_SYMBOL)
    for layer, placement in enumerate(plan.placements):
        touched = profile.buckets[layer].touched
        if touched is not None and not (arena.address <= touched[0] and touched[1] <= arena.end):
            raise Mismatch(
                f"layer {placement.shape.name}: stores to {touched[0]:#x} to {touched[1]:#x}, "
                f"the arena is {arena.address:#x} to {arena.end:#x}; report it as a bug"
            )


def target_entry(
    target: CortexMTarget,
    sizes: ElfSizes,
    profile: Profile,
    cycles: tuple[Estimate, ...],
    facts: FirmwareFacts,
    image: ElfImage,
) -> dict[str, Any]:
    """The entry of report.json's `targets` but its layers. Flash, RAM and instructions (of test image 0) are exact."""
    total = sum_estimates(cycles)
    model = MODELS[target.core]
    return {
        "kind": target.kind,
        "chip": target.chip,
        "clock_hz": target.clock_hz,
        "flash_bytes": asdict(sizes.flash) | {"total": sizes.flash.total},
        "ram_bytes": asdict(sizes.ram) | {"total": sizes.ram.total},
        "capacity": {"flash_bytes": target.flash.size_bytes, "ram_bytes": target.ram.size_bytes},
        "stack_used_bytes": {"paint": facts.stack_used_bytes, "stores": _stack_stored(profile, image)},
        "sections": {name: {"flash_bytes": flash, "ram_bytes": ram} for name, (flash, ram) in sizes.sections.items()},
        "instructions": sum(profile.layer_instructions(len(cycles))),
        "instructions_outside": profile.instructions - sum(profile.layer_instructions(len(cycles))),
        "cycles_estimated": total.to_json(),
        "latency_ms_estimated": latency_ms(total, target.clock_hz).to_json(),
        "cycle_model": f"{model.rules} rules x {model.low:.2f} to {model.high:.2f}, wait states in the high end",
    }


def _stack_stored(profile: Profile, image: ElfImage) -> int:
    """Peak stack by the lowest address that was stored to, from the first layer on."""
    stack = next(section for section in image.sections if section.name == STACK_SECTION)
    return stack.address + stack.size - profile.stack_lowest if profile.stack_lowest else 0


def _layer_entries(
    converted: ConvertedModel, plan: MemoryPlan, image: ElfImage, profile: Profile, cycles: tuple[Estimate, ...]
) -> list[dict[str, Any]]:
    weights = padded_weights(image)
    bit_widths = {layer.name: layer.bit_width for layer in converted.model.layers}
    arena = image.symbol(ARENA_SYMBOL)
    entries = []
    for layer, (placement, estimate) in enumerate(zip(plan.placements, cycles, strict=True)):
        bucket = profile.buckets[layer]
        prefix = layer_symbol(placement.shape.name) + "_"
        entries.append(
            {
                "name": placement.shape.name,
                "op": placement.shape.kind,
                "macs": placement.shape.macs,
                "bit_width": bit_widths.get(placement.shape.name),
                "kernel": placement.choice.kernel.name if placement.choice else None,
                "strip_channels": placement.choice.strip_channels if placement.choice else None,
                "flash_bytes": sum(size for name, size in weights.items() if _is_table_of(name, prefix)),
                "ram_bytes": _live_bytes(placement),
                "scratch_bytes": placement.scratch_bytes,
                "arena_touched": [address - arena.address for address in bucket.touched] if bucket.touched else None,
                "instructions": bucket.instructions,
                "loads": bucket.loads,
                "stores": bucket.stores,
                "cycles_estimated": estimate.mid,
                "cycles_estimated_band": estimate.to_json(),
            }
        )
    return entries


def _is_table_of(symbol: str, prefix: str) -> bool:
    """`model_conv1_` owns `model_conv1_bias`, not `model_conv1_2_bias`."""
    return symbol.startswith(prefix) and "_" not in symbol.removeprefix(prefix)


def _live_bytes(placement: Placement) -> int:
    """RAM alive during the layer: its input, output and scratch; in place, input and output share theirs."""
    tensors = (placement.input_bytes, placement.output_bytes)
    return (max(tensors) if placement.in_place else sum(tensors)) + placement.scratch_bytes
