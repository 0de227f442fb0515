"""One net under one budget: limits of sums are solved, what only a linked firmware knows is measured, and solved again.

Code size, alignment and what the loops really execute are no sums over layers. So a first build tells what stands
beside the table; the choice is made for what is left; its own build must then keep the budget, or corrects the difference
and the choice is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any

from convert.kernels import Prefer
from deploy.config import TargetLimits
from deploy.cortex_m import STATIC_RAM_BYTES
from deploy.targets import CortexMTarget
from repedge.fit.allocate import Allocate
from repedge.fit.build_table import KernelPlan, build_table
from repedge.fit.firmware import Bench, Measured
from repedge.fit.infeasible import explain, largest_layer, refuse
from repedge.fit.post_trained import PostTrained
from repedge.fit.sensitivity import Losses
from repedge.fit.table import Allocation, LayerOptions, Limits, Table, bits_of, cost_of
from train.errors import BudgetExceeded

ROUNDS = 12
CHEAP_BITS = 4  # up to here kernels decode pairs of indices by a table


@dataclass(frozen=True)
class Request:
    """The budget of a fit: of the model, and of one microcontroller where `target` is given."""

    weight_bytes: int | None = None
    bit_operations: int | None = None
    target: CortexMTarget | None = None
    limits: TargetLimits = field(default_factory=TargetLimits)

    @property
    def flash_bytes(self) -> int:
        """The tightest of the limit on flash, on its region, and the chip's own size."""
        assert self.target is not None
        limits = (self.limits.flash_bytes, self.limits.regions.get("flash"), self.target.link_flash_bytes)
        return min(limit for limit in limits if limit is not None)

    @property
    def ram_bytes(self) -> int:
        """The tightest of the limit on RAM, on its region, and the chip's own size."""
        assert self.target is not None
        return min(self.limits.ram_limit_bytes or self.target.ram.size_bytes, self.target.ram.size_bytes)

    @property
    def counts(self) -> bool:
        """Whether a limit can only be checked by running the firmware."""
        return self.limits.instructions is not None or self.limits.latency_ms is not None


@dataclass(frozen=True)
class Solution:
    """A choice that keeps the budget. `measured` is None where the budget names no microcontroller."""

    prefer: Prefer | None
    table: Table
    limits: Limits
    allocation: Allocation
    measured: Measured | None

    @property
    def bits(self) -> dict[str, int]:
        """Layer name -> bit width."""
        return bits_of(self.table, self.allocation)


def fit_model(layers: PostTrained, losses: Losses, request: Request, allocate: Allocate) -> Solution:
    """The choice for limits on the model alone."""
    table = build_table(layers, losses, KernelPlan())
    limits = Limits(weight_bytes=request.weight_bytes, bit_operations=request.bit_operations)
    allocation = allocate(table, limits)
    if allocation is None:
        raise explain(table, limits, beside={})
    return Solution(None, table, limits, allocation, None)


@dataclass
class TargetFit:
    """The rounds of one net on one microcontroller with one preference of kernels."""

    layers: PostTrained
    losses: Losses
    request: Request
    prefer: Prefer
    bench: Bench
    say: Callable[[str], None]
    flash_beside: int = 0  # bytes of flash beside the tables
    ram_beside: int = 0  # bytes of RAM beside the arena
    instructions_beside: int = 0  # executed beside the layers' counts
    cycles_beside: int = 0
    counts: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def check(self) -> None:
        """`Infeasible` where a single limit is below the smallest value that this net can reach."""
        fewest = min(self.layers.plans)
        measured = self._measure(dict.fromkeys(self.layers.names, fewest), f"uniform-{fewest}")
        self._check_ram()
        table = self._table()
        if measured.flash_bytes > self.request.flash_bytes:
            worst = largest_layer(table, "flash_bytes")
            raise refuse("flash_bytes", self.request.flash_bytes, measured.flash_bytes, worst)
        if self.request.counts:
            self._count_all()

    def _count_all(self) -> None:
        """Count every layer at every width; the cheap widths first, so that a hopeless limit is told early."""
        widths = sorted(self.layers.plans)
        for number, bits in enumerate(widths):
            if bits > CHEAP_BITS and widths[number - 1] <= CHEAP_BITS:
                self._check_counts()
            self._count(bits)
        self._check_counts()

    def _check_counts(self) -> None:
        limits = self._limits()
        table = [
            LayerOptions(layer.name, tuple(o for o in layer.options if (layer.name, o.bit_width) in self.counts))
            for layer in self._table()
        ]
        for name in ("instructions", "cycles"):
            limit = getattr(limits, name)
            least = sum(min(getattr(option, name) for option in layer.options) for layer in table)
            if limit is not None and least > limit:
                raise explain(table, Limits(**{name: limit}), **self._shown())

    def _count(self, bits: int) -> None:
        """Count every layer at one bit width, all layers at once; what stands beside them is the pool."""
        names = self.layers.names
        try:
            measured = self._measure(dict.fromkeys(names, bits), f"uniform-{bits}")
        except BudgetExceeded:  # the chip cannot hold all layers at this width, but perhaps one of them
            known = max(width for _, width in self.counts)
            self.counts |= {(name, bits): self.counts[name, known] for name in names}
            return
        rows = {row["name"]: row for row in measured.layers}
        self.counts |= {(name, bits): (rows[name]["instructions"], rows[name]["cycles_high"]) for name in names}
        others = [row for name, row in rows.items() if name not in names]
        self.instructions_beside = max(self.instructions_beside, sum(row["instructions"] for row in others))
        self.cycles_beside = max(self.cycles_beside, sum(row["cycles_high"] for row in others))

    def _shown(self) -> dict[str, Any]:
        """How sums are told as the budget's figures."""
        beside = {
            "flash_bytes": self.flash_beside,
            "instructions": self.instructions_beside,
            "cycles": self.cycles_beside,
        }
        return {"beside": beside, "clock_hz": self.target.clock_hz}

    @property
    def target(self) -> CortexMTarget:
        """The microcontroller."""
        assert self.request.target is not None
        return self.request.target

    def _check_ram(self) -> None:
        """The smallest arena is that of the neediest layer at its least."""
        prefer: Prefer = "flash" if self.prefer == "flash" else "ram"
        table = build_table(self.layers, {}, KernelPlan(self._plan().core, prefer))
        worst = largest_layer(table, "arena_bytes")
        needed = self.ram_beside + max(min(option.arena_bytes for option in layer.options) for layer in table)
        if needed > self.request.ram_bytes:
            raise refuse("ram_bytes", self.request.ram_bytes, needed, worst)

    def _plan(self) -> KernelPlan:
        target, ram = self.target, self.request.ram_bytes
        wanted = ram - target.stack_bytes - STATIC_RAM_BYTES
        # not known before the first build
        limit = ram - self.ram_beside if self.ram_beside else None
        return KernelPlan(target.core, self.prefer, wanted, limit)

    def _table(self) -> list[LayerOptions]:
        return build_table(self.layers, self.losses, self._plan(), self.counts)

    def _measure(self, bits: dict[str, int], name: str) -> Measured:
        """Build (and run) one choice, and learn from it what stands beside the sums."""
        self.say(f"firmware, {name}, for {self.prefer}")
        model = self.layers.model(bits)
        measured = self.bench.measure(
            model, f"{self.prefer}-{name}", prefer=self.prefer, ram_limit_bytes=self.request.ram_bytes
        )
        plan = replace(self._plan(), arena_limit=None)
        table = build_table(self.layers, {}, plan, self.counts)
        cost = cost_of(tuple(layer.at(bits[layer.name]) for layer in table))
        self.flash_beside = max(self.flash_beside, measured.flash_bytes - cost.flash_bytes)
        self.ram_beside = measured.ram_bytes - measured.arena_bytes
        if measured.instructions is not None and cost.instructions:
            cycles = sum(row["cycles_high"] for row in measured.layers)
            self.instructions_beside = max(self.instructions_beside, measured.instructions - cost.instructions)
            self.cycles_beside = max(self.cycles_beside, cycles - cost.cycles)
        return measured

    def _limits(self) -> Limits:
        """The budget less what stands beside the sums."""
        limits = self.request.limits
        instructions = cycles = None
        if limits.instructions is not None:
            instructions = limits.instructions - self.instructions_beside
        if limits.latency_ms is not None:
            cycles = floor(limits.latency_ms * self.target.clock_hz / 1e3) - self.cycles_beside
        return Limits(
            weight_bytes=self.request.weight_bytes,
            flash_bytes=self.request.flash_bytes - self.flash_beside,
            bit_operations=self.request.bit_operations,
            instructions=instructions,
            cycles=cycles,
            arena_bytes=self.request.ram_bytes - self.ram_beside,
        )

    def run(self, allocate: Allocate) -> Solution:
        """Choose, build, measure; again until the build keeps the budget. `check` comes first."""
        for number in range(1, ROUNDS + 1):
            table, limits = self._table(), self._limits()
            allocation = allocate(table, limits)
            if allocation is None:
                raise explain(table, limits, **self._shown())
            measured = self._measure(bits_of(table, allocation), f"round-{number}")
            if keeps(self.request, measured):
                return Solution(self.prefer, table, limits, allocation, measured)
        raise BudgetExceeded(
            f"no choice kept the budget within {ROUNDS} rounds of building and measuring, allowed is one that does; "
            "loosen the limit that fit.json shows as broken, or report it as a bug"
        )


def keeps(request: Request, measured: Measured) -> bool:
    """Whether what was measured keeps to every limit."""
    limits = request.limits
    pairs = [
        (measured.weight_bytes, request.weight_bytes),
        (measured.flash_bytes, request.flash_bytes),
        (measured.ram_bytes, request.ram_bytes),
        (measured.instructions, limits.instructions),
        (measured.latency_ms, limits.latency_ms),
    ]
    return all(limit is None or (value is not None and value <= limit) for value, limit in pairs)
