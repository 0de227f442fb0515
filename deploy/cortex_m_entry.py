"""The facts of a Cortex-M target in a report: sizes, counts, estimates, of the whole image and of each layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from convert.c_layers import layer_symbol
from convert.integer_model import IntegerModel
from convert.memory_plan import MemoryPlan, Placement
from convert.plain_kernels import plain_kernel_name
from deploy.code_bytes import CodeBytes
from deploy.cycles import MODELS, Estimate, latency_ms, sum_estimates
from deploy.elf_sizes import ARENA_SYMBOL, STACK_SECTION, ElfSizes, padded_weights
from deploy.elf_symbols import ElfImage
from deploy.firmware_run import FirmwareFacts
from deploy.profile import Profile
from deploy.stack_bound import StackBound
from deploy.targets import CortexMTarget


def bounds_entry(plan: MemoryPlan, stack: StackBound, code: CodeBytes) -> dict[str, Any]:
    """What is known before anything runs, all of it exact: the peak of RAM, the bound on the stack, the kernels' code."""
    return {
        "stack_bound_bytes": {"inference": stack.inference_bytes, "program": stack.program_bytes},
        "stack_worst_path": list(stack.inference_path),
        "peak_ram_bytes": {
            "arena": plan.arena_bytes,
            "stack_bound": stack.inference_bytes,
            "total": plan.arena_bytes + stack.inference_bytes,
        },
        "kernel_code_bytes": {"total": code.total, "libgcc": code.libgcc, "objects": code.objects},
    }


def target_entry(
    target: CortexMTarget,
    sizes: ElfSizes,
    profile: Profile,
    cycles: tuple[Estimate, ...],
    facts: FirmwareFacts,
    image: ElfImage,
) -> dict[str, Any]:
    """What was measured, but of the layers. Flash, RAM and instructions (of test image 0) are exact."""
    total = sum_estimates(cycles)
    model = MODELS[target.core]
    return {
        "kind": target.kind,
        "chip": target.chip,
        "clock_hz": target.clock_hz,
        "flash_bytes": asdict(sizes.flash) | {"total": sizes.flash.total},
        "ram_bytes": asdict(sizes.ram) | {"total": sizes.ram.total},
        "capacity": {"flash_bytes": target.flash.size_bytes, "ram_bytes": target.ram.size_bytes},
        "regions": region_use(target, sizes),
        "stack_used_bytes": {"paint": facts.stack_used_bytes, "stores": _stack_stored(profile, image)},
        "sections": {name: {"flash_bytes": flash, "ram_bytes": ram} for name, (flash, ram) in sizes.sections.items()},
        "instructions": sum(profile.layer_instructions(len(cycles))),
        "instructions_outside": profile.instructions - sum(profile.layer_instructions(len(cycles))),
        "cycles_estimated": total.to_json(),
        "latency_ms_estimated": latency_ms(total, target.clock_hz).to_json(),
        "cycle_model": f"{model.rules} rules x {model.low:.2f} to {model.high:.2f}, wait states in the high end",
    }


def region_use(target: CortexMTarget, sizes: ElfSizes) -> dict[str, dict[str, int]]:
    """Bytes used of every memory region of the chip; the linker puts nothing outside of `flash` and `ram`."""
    used = {"flash": sizes.flash.total, "ram": sizes.ram.total} | dict.fromkeys(target.regions, 0)
    regions = {"flash": target.flash, "ram": target.ram} | target.regions
    return {name: {"used_bytes": used[name], "size_bytes": region.size_bytes} for name, region in regions.items()}


def _stack_stored(profile: Profile, image: ElfImage) -> int:
    """Peak stack by the lowest address that was stored to, from the first layer on."""
    stack = next(section for section in image.sections if section.name == STACK_SECTION)
    return stack.address + stack.size - profile.stack_lowest if profile.stack_lowest else 0


def layer_entries(
    model: IntegerModel,
    core: str,
    plan: MemoryPlan,
    *,
    image: ElfImage,
    profile: Profile,
    cycles: tuple[Estimate, ...],
) -> list[dict[str, Any]]:
    """One row per layer: what it holds, where it lies, what it costs."""
    weights = padded_weights(image)
    bit_widths = {layer.name: layer.bit_width for layer in model.layers}
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
                "kernel": placement.choice.kernel.name
                if placement.choice
                else plain_kernel_name(placement.shape, core),
                "strip_channels": placement.choice.strip_channels if placement.choice else None,
                "flash_bytes": sum(size for name, size in weights.items() if _is_table_of(name, prefix)),
                "ram_bytes": _live_bytes(placement),
                "scratch_bytes": placement.scratch_bytes,
                "arena_touched": [address - arena.address for address in bucket.touched] if bucket.touched else None,
                "instructions": bucket.instructions,
                "loads": bucket.loads,
                "load_bytes": bucket.load_bytes,
                "stores": bucket.stores,
                "store_bytes": bucket.store_bytes,
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
