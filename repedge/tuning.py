"""The schedule search of a run's ARM Linux targets: where its records go and when they are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from convert.tvm_schedule import Schedule
from deploy.result import ConvertedModel
from deploy.targets import CortexATarget, load_target
from deploy.tune import tune, tuned_schedules


def tune_target(
    name: str, converted: ConvertedModel, records: Path, *, minutes: float, say: Callable[[str], None]
) -> None:
    """Search schedules for one target and add to its records; only ARM Linux cores have any to search."""
    target = load_target(name)
    if not isinstance(target, CortexATarget):
        say(f"  tune     {target.name}: kernels are chosen by rule, nothing to tune")
        return
    with TemporaryDirectory(prefix="repedge-tune-") as work:
        found = tune(
            converted,
            target,
            records,
            Path(work),
            minutes=minutes,
            say=lambda text: say(f"  tune     {target.name}: {text}"),
        )
    left = "none is left" if found.complete else "more are left; tune again to go on"
    say(f"  tune     {target.name}: {found.made} trials, {left}; records in {records}")


def target_schedules(name: str, converted: ConvertedModel, records: Path) -> dict[str, Schedule]:
    """The schedules that a search of this net for this target found; empty where there was none."""
    target = load_target(name)
    return tuned_schedules(converted, target, records) if isinstance(target, CortexATarget) else {}
