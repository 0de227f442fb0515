"""What a run's folder holds: its stages, and of a finished run the figures that one asks for first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.report_schema import FILE_NAME
from repedge.compare import load_report
from repedge.stages import RECIPE_FILE
from train.artefact import MANIFEST_NAME

SIZES = {"flash": "flash_bytes", "RAM": "ram_bytes"}
STAGES = ("train", "convert", "deploy")


def inspect_folder(path: Path) -> dict[str, Any]:
    """Facts of a folder without a manifest of its own: a run, or something else with the names in it."""
    if not (path / RECIPE_FILE).is_file():
        names = sorted(child.name for child in path.iterdir())
        return {"kind": "folder without a manifest: an unfinished stage, or not one of repedge's", "holds": names}
    facts: dict[str, Any] = {"kind": "folder of a run", "stages": {name: _state(path / name) for name in STAGES}}
    if (path / FILE_NAME).is_file():
        facts |= _headline(load_report(path))
    return facts


def _state(stage: Path) -> str:
    """Deploy has a folder, and a manifest in it, for each target."""
    if not stage.is_dir():
        return "not run"
    return "finished" if any(stage.glob(f"**/{MANIFEST_NAME}")) else "unfinished"


def _headline(report: Mapping[str, Any]) -> dict[str, Any]:
    exact = report.get("exactness", {})
    limits = report.get("budget", {}).get("limits", [])
    met = sum(limit["passed"] for limit in limits)
    return {
        "accuracy": {name: f"{entry['top1']:.2f} % of {entry['images']}" for name, entry in report["accuracy"].items()},
        "logits that differ from the reference": sum(entry["logits_mismatched"] for entry in exact.values()),
        "weight_bytes": report["model"].get("weight_bytes"),
        "targets": {name: _target(entry) for name, entry in report["targets"].items()},
        "budget": f"{met} of {len(limits)} limits met" if limits else "no limits",
    }


def _target(target: Mapping[str, Any]) -> str:
    sizes = [f"{name} {target[key]['total']:,} B" for name, key in SIZES.items() if target.get(key)]
    count, band = target.get("instructions"), target.get("latency_ms_estimated")
    counted = [] if count is None else [f"{count:,} instructions"]
    latency = [] if band is None else [f"{band['low']:.3g} to {band['high']:.3g} ms (estimated)"]
    return ", ".join([*sizes, *counted, *latency])
