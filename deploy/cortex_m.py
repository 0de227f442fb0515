"""A Cortex-M back end: firmware built, bounded, read back, run under emulation, counted, and told as a report's target entry.

The image that is measured is the one that runs, so its static RAM holds the profiler's marks (256 bytes), and its code
the reading of images and writing of logits; a product's image is smaller by both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.c_source import verify_c_model, write_c_model
from convert.integer_model import IntegerModel
from convert.integer_model_file import save_integer_model
from convert.kernels import Prefer, choose_kernels, smallest_arena
from convert.memory_plan import MemoryPlan, plan_memory
from convert.trade_off import plan_figures, trade_off_points
from deploy.armv6m import check_armv6m
from deploy.code_bytes import read_code_bytes
from deploy.cortex_m_entry import bounds_entry, layer_entries, target_entry
from deploy.cycles import estimate_cycles
from deploy.disassembly import Instruction, disassemble
from deploy.elf_sizes import ARENA_SYMBOL, measure_image
from deploy.elf_symbols import ElfImage, read_elf
from deploy.elf_weights import check_elf_weights
from deploy.firmware_build import FirmwareMemory, build_firmware
from deploy.firmware_run import PROFILE_FOLDER, FirmwareFacts, mean_instructions, profile_image, run_images
from deploy.flame import FILE_NAME as FUNCTIONS_NAME
from deploy.flame import count_functions, flame_text, functions_entry
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.stack_bound import StackBound, bound_stack
from deploy.store_trace import check_stores
from deploy.targets import CortexMTarget
from train.artefact import sha256_file, write_text
from train.errors import BudgetExceeded, Mismatch

MODEL_NAME = "model.safetensors"
STATIC_RAM_BYTES = 256  # beside arena and stack: the profiler's marks


@dataclass(frozen=True)
class RamLimits:
    """Bytes of static RAM and stack. `demanded` is an error where it cannot be kept, `budgeted` is kept to where it can."""

    demanded: int | None = None
    budgeted: int | None = None


CHIP_ONLY = RamLimits()


@dataclass(frozen=True)
class BuiltFirmware:
    """An image, and what was found in it before it ran."""

    elf: Path
    image: ElfImage
    code: dict[int, Instruction]
    plan: MemoryPlan
    stack: StackBound
    entry: dict[str, Any]


def deploy_cortex_m(
    converted: ConvertedModel,
    target: CortexMTarget,
    out: Path,
    *,
    images: int,
    prefer: Prefer = "speed",
    limits: RamLimits = CHIP_ONLY,
) -> BackendResult:
    """Build for `target`, run the first `images` test vectors, profile the first one; everything is written below `out`.

    The kernels are chosen for the target's core; their tables are written anew, in `out/model`. Without `limits` the
    chip's RAM is the limit.
    """
    model, vectors = converted.model, converted.vectors.first(images)
    built = build_bounded(model, target, out, prefer=prefer, limits=limits)
    plan = built.plan
    logits, facts = run_images(target, built.elf, out / "run", vectors=vectors)
    _check_run(facts, built)
    profile = profile_image(target, built.elf, out, vectors=vectors)
    check_stores(profile, built.image.symbol(ARENA_SYMBOL).address, plan)
    cycles = estimate_cycles(profile, built.code, target, len(plan.placements))
    entry = target_entry(target, measure_image(built.image), profile, cycles, facts, built.image) | built.entry
    entry["instructions_mean"] = mean_instructions(target, built.elf, out, vectors=vectors, layers=len(plan.placements))
    entry["layers"] = layer_entries(model, target.core, plan, image=built.image, profile=profile, cycles=cycles)
    names = [placement.shape.name for placement in plan.placements]
    functions = count_functions(profile, built.image)
    write_text(out / PROFILE_FOLDER / FUNCTIONS_NAME, flame_text(functions, names))
    entry["functions"] = functions_entry(functions, names)
    entry["trade_off"] = trade_off_entry(model, target, plan, entry)
    notices = (
        (f"{target.name}: {len(logits)} images, {images} were asked for; the test split has no more",)
        if len(logits) < images
        else ()
    )
    return proven(f"firmware_{target.name}", converted.vectors, logits, target=entry, notices=notices)


def build_bounded(
    model: IntegerModel,
    target: CortexMTarget,
    out: Path,
    *,
    prefer: Prefer = "speed",
    limits: RamLimits = CHIP_ONLY,
) -> BuiltFirmware:
    """Plan, build and read back; peak RAM and the bound on the stack are in `entry`, and in `out/bounds.txt`, before anything runs."""
    plan = target_plan(model, target, prefer=prefer, limits=limits)
    folder = write_tables(model, plan, out / "model")
    elf = build_firmware(folder, target.core, out / "build", memory=firmware_memory(target))
    if target.core == "cortex-m0plus":
        check_armv6m(elf, out / "build" / "armv6m.txt")
    image = read_elf(elf)
    check_elf_weights(image, model, plan)
    code = disassemble(elf, target.core, out / "disassembly.txt")
    stack = bound_stack(out / "build", image, code)
    if stack.program_bytes > target.stack_bytes:
        raise BudgetExceeded(
            f"{target.name}: the program may need {stack.program_bytes} bytes of stack, {target.stack_bytes} are reserved; "
            "raise stack_bytes in the target's file"
        )
    entry = bounds_entry(plan, stack, read_code_bytes(elf.with_suffix(".map")))
    write_text(out / "bounds.txt", _bounds_text(plan, stack))
    return BuiltFirmware(elf, image, code, plan, stack, entry)


def _bounds_text(plan: MemoryPlan, stack: StackBound) -> str:
    path = "".join(f"  {name}\n" for name in stack.inference_path)
    return (
        f"peak RAM of an inference: {plan.arena_bytes + stack.inference_bytes} bytes, "
        f"arena {plan.arena_bytes} and at most {stack.inference_bytes} of stack (exact bound, without interrupts)\n"
        f"stack of the whole program: at most {stack.program_bytes} bytes\nworst path:\n{path}"
    )


def target_plan(
    model: IntegerModel, target: CortexMTarget, *, prefer: Prefer = "speed", limits: RamLimits = CHIP_ONLY
) -> MemoryPlan:
    """Kernels and arena for a target. `BudgetExceeded` names the smallest possible RAM where the demanded limit is below it."""
    beside = target.stack_bytes + STATIC_RAM_BYTES
    given = [limit for limit in (limits.demanded, limits.budgeted, target.link_ram_bytes) if limit is not None]
    plan = plan_memory(model, choose_kernels(model, target.core, prefer=prefer, ram_limit=min(given) - beside))
    if limits.demanded is not None and plan.arena_bytes + beside > limits.demanded:
        least = min(smallest_arena(model, core) for core in (target.core, None))
        raise BudgetExceeded(
            f"{target.name}: the RAM limit is {limits.demanded} bytes, the smallest feasible is {least + beside} "
            f"(arena {least}, stack {target.stack_bytes}, static {STATIC_RAM_BYTES}); give that or more, or use a smaller net"
        )
    return plan


def trade_off_entry(
    model: IntegerModel, target: CortexMTarget, plan: MemoryPlan, measured: dict[str, Any]
) -> dict[str, Any]:
    """The planner's choices that no other one beats, estimated, beside the built one, measured.

    `flash_bytes` of a point is the built image's, changed by what its kernels and indices are estimated to differ.
    """
    choices = tuple(placement.choice for placement in plan.placements if placement.choice)
    built = plan_figures(model, choices, target.core)
    beside = measured["ram_bytes"]["total"] - plan.arena_bytes
    rest = measured["flash_bytes"]["total"] - built.flash_bytes
    points = [
        {
            "ram_bytes": point.arena_bytes + beside,
            "instructions_estimated": point.instructions,
            "flash_bytes_estimated": point.flash_bytes + rest,
            "kernels": sorted(set(point.kernels)),
        }
        for point in trade_off_points(model, target.core)
    ]
    return {
        "kind": "estimated",
        "points": points,
        "built": {
            "kind": "measured",
            "ram_bytes": measured["ram_bytes"]["total"],
            "instructions": measured["instructions"],
            "instructions_estimated": built.instructions,
            "flash_bytes": measured["flash_bytes"]["total"],
            "kernels": sorted(set(built.kernels)),
        },
    }


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
        ram_bytes=target.link_ram_bytes,
        stack_bytes=target.stack_bytes,
    )


def _check_run(facts: FirmwareFacts, built: BuiltFirmware) -> None:
    """What the firmware says of itself is what was planned and bounded."""
    linked = built.image.symbol(ARENA_SYMBOL).size
    if not facts.arena_bytes == linked == built.plan.arena_bytes:
        raise Mismatch(
            f"arena: {facts.arena_bytes} bytes at run time, {linked} linked, the plan says {built.plan.arena_bytes}; "
            "they must be equal; build the firmware again"
        )
    if facts.stack_used_bytes > built.stack.program_bytes:
        raise Mismatch(
            f"stack: {facts.stack_used_bytes} bytes were used, the bound says {built.stack.program_bytes} at most; "
            "report it as a bug"
        )
