"""What the zoo's nets lose: one net per size, trained ten times as long as the grid's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.accuracy_goals import LOSSES
from benchmarks.accuracy_products import EXACTNESS, best_known_top1, integer_accuracies, listed_models
from benchmarks.accuracy_statistics import NOTHING, table
from train.zoo import ZooModel

SIZES = ("m", "s", "xs")
FLOAT = (None, None)
WIDTHS = ((8, 8), (4, 8), (3, 8), (2, 8), (4, 4))  # (weights, activations)

TEXT = """## What the zoo's nets lose

One net per size, one seed, 10,000 test images, float nets of 100 to 160 epochs (their recipes say): accuracy, and in brackets the
points lost against the float net that it came from. `*`: of the integer model in C (`make prove-zoo`); the others in the training's own
arithmetic. No float net trained on for the QAT epochs was measured here, so that these losses may be smaller than by the grid's rule."""


def zoo_section(zoo: Path, exactness: Path = EXACTNESS) -> str:
    """The table, with the goals below it; empty where there are no nets of CIFAR-10."""
    models = [model for model in listed_models(zoo) if model.data == "cifar10"]
    proved = integer_accuracies(exactness)
    sizes = [size for size in SIZES if _find(models, size, FLOAT)]
    if not sizes:
        return ""
    rows = [[f"`{size}`", *(_cell(_find(models, size, bits), proved) for bits in (FLOAT, *WIDTHS))] for size in sizes]
    goals = {(weights, activations): f"{points:g}" for weights, activations, points in LOSSES}
    header = ["size", "float", *(f"W{weights}A{activations}" for weights, activations in WIDTHS)]
    return TEXT + "\n\n" + table(header, [*rows, ["goal of the loss", "", *(goals.get(bits, "") for bits in WIDTHS)]])


def _find(models: Iterable[ZooModel], size: str, bits: tuple[int | None, int | None]) -> ZooModel | None:
    return next((m for m in models if m.size == size and (m.weight_bits, m.activation_bits) == bits), None)


def _cell(model: ZooModel | None, proved: Mapping[str, float]) -> str:
    """Accuracy; of a quantized net the loss too."""
    if model is None:
        return NOTHING
    top1, is_integer = best_known_top1(model, proved)
    loss = "" if model.weight_bits is None else f" ({model.top1_float - top1:.2f})"
    return f"{top1:.2f}{'*' if is_integer else ''}{loss}"
