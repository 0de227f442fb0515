"""A fit on the terminal: the layers, what they take, and where everything was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.budget_text import print_budget
from repedge.fit.compare import interval_text


def print_fit(facts: Mapping[str, Any], folder: Path) -> None:
    """Print fit.json for people."""
    console = Console()
    console.print(_layers(facts))
    print(f"{facts['net']}, {facts['method']}: {facts['weight_bytes']:,} B of weights (exact); {_losses(facts)}")
    if facts["firmware"]:
        print(_firmware(facts["firmware"]))
    if "comparison" in facts:
        console.print(_comparison(facts["comparison"]["summary"]))
    if "budget_after_training" in facts:
        validation = facts["validation"]
        for name, entry in validation.items():
            print(f"{name}: {entry['top1']:.2f} % of {entry['images']} validation images")
        print_budget(facts["budget_after_training"])
    if not facts["qat_epochs"]:
        print(
            "notice: no QAT was trained, so the loss above is that of rounding alone; --epochs N trains it "
            "(with --no-train, repedge run does where the recipe has epochs)"
        )
    print(f"wrote {folder / 'recipe.yaml'}, {folder / 'fit' / 'fit.json'} and {folder / 'fit' / 'pareto.html'}")
    print(f"next: repedge run {folder / 'recipe.yaml'} --out {folder}")


def _layers(facts: Mapping[str, Any]) -> Table:
    table = Table("layer", "bits", "bytes", "loss alone (nats)")
    for layer in facts["layers"]:
        table.add_row(layer["name"], str(layer["bits"]), f"{layer['weight_bytes']:,}", f"{layer['loss']:.3g}")
    return table


def _losses(facts: Mapping[str, Any]) -> str:
    return f"before QAT {facts['joint_loss']:.4g} nats from the float net (sum of single layers {facts['predicted_loss']:.4g})"


def _firmware(measured: Mapping[str, Any]) -> str:
    text = f"firmware: flash {measured['flash_bytes']:,} B, RAM {measured['ram_bytes']:,} B (exact)"
    if measured["instructions"] is None:
        return text
    return f"{text}, {measured['instructions']:,} instructions (exact), latency up to {measured['latency_ms']:.3g} ms (estimated)"


def _comparison(rows: list[Mapping[str, Any]]) -> Table:
    table = Table("method", "seeds", "bytes", "top-1, validation (%)", "exact ahead (points)")
    for row in rows:
        sizes = ", ".join(f"{size:,}" for size in row["weight_bytes"]) or "does not fit"
        table.add_row(
            row["method"],
            str(len(row["seeds"])),
            sizes,
            interval_text(row["top1_validation"]),
            interval_text(row["exact_ahead"], sign=True),
        )
    return table
