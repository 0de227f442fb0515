"""Estimated cycles of a run: the exact execution counts of each block times documented instruction timings.

The emulator does not model time. The estimate takes each executed block, adds up the cycles of its instructions
(`deploy/cycle_rules.py`), and adds the pipeline's refill for each taken branch. It is an estimate with a band:

| core | mid | band |
|---|---|---|
| Cortex-M4 | the M4's rules | ±15 % |
| Cortex-M3 | the M3's rules | ±20 %; no published measurement to compare with |
| Cortex-M0+ | the M0+'s rules | −20 % to +25 %; no published measurement to compare with |
| Cortex-M55 | the rules with overlapping vector beats | ±35 % a layer |
| Cortex-M7 | 0.645 × the M4's rules on its own trace | 0.58 × 85 % to 0.71 × 115 % of the M4's rules |
| Cortex-M33 | 0.865 × the M4's rules on its own trace | 0.83 × 85 % to 0.90 × 115 % of the M4's rules |

The factors of M7 and M33 are the ratios that the same software reached on boards with these cores and on a Cortex-M4
in the public MLPerf Tiny results (ResNet-8, versions 0.7 to 1.3); those kernels use the DSP extension.
The M4's band comes from comparing this model of one CMSIS-NN build with published times of another on two boards.

Flash wait states enter the high end alone: lines missed (exact, through a model of the chip's small data cache) times
wait states; on a chip without any flash cache each taken branch pays them too. What the model does not know: contention
on the bus, prefetching, dual issue, branch prediction, operand-dependent division, interrupts. Energy cannot be had from it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass

from deploy.cycle_rules import block_cycles, refill_cycles
from deploy.disassembly import Instruction
from deploy.profile import BlockCount, Profile
from deploy.targets import CortexMTarget
from train.errors import Mismatch


@dataclass(frozen=True)
class CycleModel:
    """Which core's rules count, and the low, mid and high factors on their sum."""

    rules: str
    low: float
    mid: float
    high: float


MODELS = {
    "cortex-m0plus": CycleModel("cortex-m0plus", 0.80, 1.0, 1.25),
    "cortex-m3": CycleModel("cortex-m3", 0.80, 1.0, 1.20),
    "cortex-m4": CycleModel("cortex-m4", 0.85, 1.0, 1.15),
    "cortex-m7": CycleModel("cortex-m4", 0.58 * 0.85, 0.645, 0.71 * 1.15),
    "cortex-m33": CycleModel("cortex-m4", 0.83 * 0.85, 0.865, 0.90 * 1.15),
    "cortex-m55": CycleModel("cortex-m55", 0.65, 1.0, 1.35),
}


@dataclass(frozen=True)
class Estimate:
    """Low end, middle and high end of an estimate: cycles, or milliseconds."""

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.mid <= self.high:
            raise ValueError(f"estimate {self.low}, {self.mid}, {self.high} is not in ascending order")

    def to_json(self) -> dict[str, float]:
        """The entry of report.json."""
        return asdict(self)


def estimate_cycles(
    profile: Profile, instructions: dict[int, Instruction], target: CortexMTarget, layers: int
) -> tuple[Estimate, ...]:
    """Cycles of each layer (bucket 0 … layers − 1) over the whole profiled run, as integers."""
    model = MODELS[target.core]
    addresses = list(instructions)
    ruled, taken = [0] * layers, [0] * layers
    for block in profile.blocks:
        if block.bucket < layers:
            body = _instructions_of(block, instructions, addresses)
            ruled[block.bucket] += block.executions * block_cycles(body, model.rules)
            ruled[block.bucket] += block.taken * refill_cycles(body[-1])
            taken[block.bucket] += block.taken
    return tuple(
        _estimate(model, ruled[layer], _wait_cycles(profile, target, layer, taken[layer])) for layer in range(layers)
    )


def _instructions_of(
    block: BlockCount, instructions: dict[int, Instruction], addresses: list[int]
) -> list[Instruction]:
    first, last = bisect_left(addresses, block.start), bisect_left(addresses, block.end)
    body = [instructions[address] for address in addresses[first:last]]
    if len(body) != block.instructions:
        raise Mismatch(
            f"code {block.start:#x} to {block.end:#x}: {block.instructions} instructions executed, "
            f"{len(body)} disassembled; the counts must be of this ELF file; run the emulator again"
        )
    return body


def _wait_cycles(profile: Profile, target: CortexMTarget, layer: int, taken: int) -> int:
    misses = profile.buckets[layer].flash_misses
    return target.flash_wait_states * (misses + (taken if target.flash_cache_lines == 0 else 0))


def _estimate(model: CycleModel, ruled: int, wait_cycles: int) -> Estimate:
    return Estimate(round(ruled * model.low), round(ruled * model.mid), round(ruled * model.high) + wait_cycles)


def sum_estimates(estimates: tuple[Estimate, ...]) -> Estimate:
    """The total: bands add up, because a model errs the same way in each layer."""
    return Estimate(
        sum(estimate.low for estimate in estimates),
        sum(estimate.mid for estimate in estimates),
        sum(estimate.high for estimate in estimates),
    )


def latency_ms(cycles: Estimate, clock_hz: int) -> Estimate:
    """Milliseconds at the target's clock."""
    return Estimate(*(1e3 * value / clock_hz for value in (cycles.low, cycles.mid, cycles.high)))
