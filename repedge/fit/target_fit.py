"""One net under one budget: limits of sums are solved, what only a linked firmware knows is measured, and solved again.

Code size, alignment and what the loops really execute are no sums over layers. So a first build tells what stands
beside the table; the choice is made for what is left; its own build must then keep the budget, or corrects the difference
and the choice is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor

from convert.kernels import Prefer
from deploy.config import TargetLimits
from deploy.cortex_m import RESERVED_RAM_BYTES
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
    instructions_ratio: float = 0.0  # executed / estimated
    latency_ratio: float = 0.0  # milliseconds, upper end / estimated instructions

    def check(self) -> None:
        """`Infeasible` where a single limit is below the smallest value that this net can reach."""
        measured = self._measure(dict.fromkeys(self.layers.names, min(self.layers.plans)), "smallest")
        self._check_ram()
        table = self._table()
        if measured.flash_bytes > self.request.flash_bytes:
            worst = largest_layer(table, "flash_bytes")
            raise refuse("flash_bytes", self.request.flash_bytes, measured.flash_bytes, worst)
        if self.request.counts:
            fastest = tuple(min(layer.options, key=lambda option: option.instructions) for layer in table)
            counted = self._measure(bits_of(table, fastest), "fastest")
            self._check_counts(counted)

    def _check_counts(self, fastest: Measured) -> None:
        limits = self.request.limits
        for name, value in (("instructions", fastest.instructions), ("latency_ms", fastest.latency_ms)):
            limit = getattr(limits, name)
            if limit is not None and value is not None and value > limit:
                worst = max(fastest.layers, key=lambda row: row["instructions"])["name"]
                raise refuse(name, limit, value, worst)

    def _check_ram(self) -> None:
        """The smallest arena is that of the neediest layer at its least."""
        prefer: Prefer = "flash" if self.prefer == "flash" else "ram"
        table = build_table(self.layers, {}, KernelPlan(self._plan().core, prefer))
        worst = largest_layer(table, "arena_bytes")
        needed = self.ram_beside + max(min(option.arena_bytes for option in layer.options) for layer in table)
        if needed > self.request.ram_bytes:
            raise refuse("ram_bytes", self.request.ram_bytes, needed, worst)

    def _plan(self) -> KernelPlan:
        assert self.request.target is not None
        target, ram = self.request.target, self.request.ram_bytes
        wanted = ram - target.stack_bytes - RESERVED_RAM_BYTES
        # not known before the first build
        limit = ram - self.ram_beside if self.ram_beside else None
        return KernelPlan(target.core, self.prefer, wanted, limit)

    def _table(self) -> list[LayerOptions]:
        return build_table(self.layers, self.losses, self._plan())

    def _measure(self, bits: dict[str, int], name: str) -> Measured:
        """Build (and run) one choice, and learn from it what stands beside the sums."""
        self.say(f"firmware, {name}, for {self.prefer}")
        model = self.layers.model(bits)
        measured = self.bench.measure(
            model, f"{self.prefer}-{name}", prefer=self.prefer, ram_limit_bytes=self.request.ram_bytes
        )
        table = build_table(self.layers, {}, replace(self._plan(), arena_limit=None))
        cost = cost_of(tuple(layer.at(bits[layer.name]) for layer in table))
        self.flash_beside = max(self.flash_beside, measured.flash_bytes - cost.flash_bytes)
        self.ram_beside = measured.ram_bytes - measured.arena_bytes
        if measured.instructions is not None and measured.latency_ms is not None:
            self.instructions_ratio = max(self.instructions_ratio, measured.instructions / cost.instructions)
            self.latency_ratio = max(self.latency_ratio, measured.latency_ms / cost.instructions)
        return measured

    def _limits(self) -> Limits:
        """The budget less what stands beside the sums."""
        limits = self.request.limits
        counts = []
        if limits.instructions is not None:
            counts.append(floor(limits.instructions / self.instructions_ratio))
        if limits.latency_ms is not None:
            counts.append(floor(limits.latency_ms / self.latency_ratio))
        return Limits(
            weight_bytes=self.request.weight_bytes,
            flash_bytes=self.request.flash_bytes - self.flash_beside,
            bit_operations=self.request.bit_operations,
            instructions=min(counts, default=None),
            arena_bytes=self.request.ram_bytes - self.ram_beside,
        )

    def run(self, allocate: Allocate) -> Solution:
        """Choose, build, measure; again until the build keeps the budget. `check` comes first."""
        for number in range(1, ROUNDS + 1):
            table, limits = self._table(), self._limits()
            allocation = allocate(table, limits)
            if allocation is None:
                raise explain(table, limits, beside={"flash_bytes": self.flash_beside}, ratio=self.instructions_ratio)
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
