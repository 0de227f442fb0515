"""What the zoo's nets lose: one net per size, trained to the end, where the grid's float nets have a few epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.accuracy_goals import LOSSES
from benchmarks.accuracy_products import EXACTNESS, integer_accuracies
from benchmarks.accuracy_statistics import NOTHING, table
from train.zoo import INDEX_FILE, ZooModel, load_index

SIZES = ("m", "s", "xs")
WIDTHS = ((8, 8), (4, 8), (3, 8), (2, 8), (4, 4))  # (weights, activations)

TEXT = """## What the zoo's nets lose

One net per size, one seed, 10,000 test images, float nets trained to the end (their schedules are in their recipes):
accuracy, and in brackets the points lost against the float net that it came from. `*`: of the integer model in C (`make prove-zoo`);
the others in the training's own arithmetic. No net trained on stands beside it as in the grid: these float nets' rates
fell to zero, where the grid's stop after ten epochs."""


def zoo_section(zoo: Path, exactness: Path = EXACTNESS) -> str:
    """The table, with the goals below it; empty where there are no nets of CIFAR-10."""
    if not (zoo / INDEX_FILE).is_file():
        return ""
    models = [model for model in load_index(zoo).models if model.data == "cifar10"]
    proved = integer_accuracies(exactness)
    rows = [[f"`{size}`", *cells(models, size, proved)] for size in SIZES if _float(models, size) is not None]
    if not rows:
        return ""
    goals = {(weights, activations): f"{points:g}" for weights, activations, points in LOSSES}
    header = ["size", "float", *(f"W{weights}A{activations}" for weights, activations in WIDTHS)]
    return TEXT + "\n\n" + table(header, [*rows, ["goal of the loss", "", *(goals.get(bits, "") for bits in WIDTHS)]])


def cells(models: list[ZooModel], size: str, proved: Mapping[str, float]) -> list[str]:
    """Float accuracy, then one entry per width."""
    start = _float(models, size)
    assert start is not None
    return [f"{start.top1_test:.2f}", *(_cell(models, size, bits, proved) for bits in WIDTHS)]


def _float(models: list[ZooModel], size: str) -> ZooModel | None:
    return next((model for model in models if model.size == size and model.weight_bits is None), None)


def _cell(models: list[ZooModel], size: str, bits: tuple[int, int], proved: Mapping[str, float]) -> str:
    found = [model for model in models if model.size == size and (model.weight_bits, model.activation_bits) == bits]
    if not found:
        return NOTHING
    top1 = proved.get(found[0].sha256, found[0].top1_test)
    star = "*" if found[0].sha256 in proved else ""
    return f"{top1:.2f}{star} ({found[0].top1_float - top1:.2f})"
