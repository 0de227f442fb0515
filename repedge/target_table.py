"""`repedge targets`: what each target is, as a table for people. The JSON of the same command has every figure and source."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deploy.targets import CortexATarget, CortexMTarget, Target

EXAMPLE = """\
a board of your own is a YAML file, named by its path under deploy.targets of a recipe:

  kind: cortex_m
  name: my-board
  core: cortex-m4                    # cortex-m0plus, -m3, -m4, -m7, -m33, -m55
  chip: STM32L433CC
  clock_hz: 80_000_000
  flash: {origin: 0x08000000, size_bytes: 256KB}
  ram: {origin: 0x20000000, size_bytes: 48KB}
  flash_wait_states: 4               # at clock_hz
  stack_bytes: 2048

  repedge targets my-board.yaml      checks it and shows it

figures marked as unverified were read in no text; a budget cannot set a limit on what rests on them
"""
NARROWEST = 100  # columns of a table in a pipe, which has no width of its own; a cut figure would be a wrong one


def choose_targets(targets: Sequence[Target], wanted: str) -> list[Target]:
    """Targets whose core contains the text; where no core does, those whose name or kind does."""
    by_core = [target for target in targets if wanted in core_of(target)]
    return by_core or [target for target in targets if wanted in target.name.lower() or wanted in target.kind]


def core_of(target: Target) -> str:
    """The core, or the accelerator of an NPU."""
    if isinstance(target, CortexMTarget):
        return target.core
    return target.cpu if isinstance(target, CortexATarget) else target.accelerator


def target_table(targets: Sequence[Target]) -> Table:
    """One row per target: core, clock, memory by region, wait states; `?` after what was read in no text."""
    table = Table(
        "target", "core", "MHz", "flash", "RAM", "waits", "other memory", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
        caption="Memory in KiB; other memory is left to the application. ? = unverified: read in no text, carries no budget.\n"
        "--json has descriptions and every figure's source.",
    )  # fmt: skip
    for column in table.columns[:6]:
        column.no_wrap = True
    for target in targets:
        table.add_row(target.name, *_core_and_clock(target), *_memory(target))
    return table


def _core_and_clock(target: Target) -> tuple[str, str]:
    extensions = target.extensions if isinstance(target, CortexMTarget) else ()
    core = f"{core_of(target).removeprefix('cortex-')} {'+'.join(extensions)}".strip()
    return core + _doubt(target, "core", "cpu", "multiplier"), f"{target.clock_hz / 1e6:g}{_doubt(target, 'clock_hz')}"


def _memory(target: Target) -> tuple[str, str, str, str]:
    """Flash, RAM, wait states (Cortex-A: instructions per cycle), and the regions left free, by name."""
    if isinstance(target, CortexATarget):
        low, high = target.instructions_per_cycle_low, target.instructions_per_cycle_high
        return "", "", f"{low:g}-{high:g} ipc{_doubt(target, 'instructions_per_cycle')}", ""
    if not isinstance(target, CortexMTarget):
        return "", "", "", ""
    others = (f"{name} {kib(region.size_bytes)}{_doubt(target, name)}" for name, region in target.regions.items())
    return (
        kib(target.flash.size_bytes) + _doubt(target, "flash"),
        kib(target.ram.size_bytes) + _doubt(target, "ram"),
        f"{target.flash_wait_states}{_doubt(target, 'flash_wait_states', 'flash_cache')}",
        ", ".join(others),
    )


def _doubt(target: Target, *figures: str) -> str:
    return "?" if set(figures) & set(target.unverified) else ""


def kib(size_bytes: int) -> str:
    """Bytes as a number of KiB.

    >>> kib(36 * 1024), kib(1536)
    ('36', '1.5')
    """
    return f"{size_bytes / 1024:g}"
