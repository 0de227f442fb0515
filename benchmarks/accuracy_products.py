"""Goals that other files answer: the zoo's flagships (zoo/index.json) and the cost of a training step (training.json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.accuracy_goals import Goal
from benchmarks.accuracy_statistics import Verdict
from train.zoo import INDEX_FILE, ZooModel, load_index

MOST_MACS = 13_500_000
EXACTNESS = Path(__file__).parent / "results" / "exactness.json"


@dataclass(frozen=True)
class Flagship:
    """What a size of the zoo promises on CIFAR-10's test split."""

    size: str
    top1: float
    weight_bytes: int
    bits: tuple[int, int] | None = None  # (weights, activations); None = any

    def fits(self, model: ZooModel) -> bool:
        """Whether a model may answer this row."""
        bits = self.bits is None or (model.weight_bits, model.activation_bits) == self.bits
        small = model.weight_bytes is not None and model.weight_bytes <= self.weight_bytes and model.macs <= MOST_MACS
        return bits and small and model.data == "cifar10" and model.size == self.size


FLAGSHIPS = (
    Flagship("m", 91.5, 115_000, (4, 8)),
    Flagship("m", 90.5, 98_496),
    Flagship("s", 89.5, 65_536),
    Flagship("xs", 86.0, 24_576),
)


def flagship_goals(zoo: Path, exactness: Path = EXACTNESS) -> list[Goal]:
    """One row per promise; the model is the best on the validation split among those that fit.

    Where `make prove-zoo` ran the integer model of these very weights over the test set, that accuracy is judged.
    """
    models, proved = listed_models(zoo), integer_accuracies(exactness)
    return [flagship_goal(flagship, models, proved) for flagship in FLAGSHIPS]


def listed_models(zoo: Path) -> tuple[ZooModel, ...]:
    """The models of a zoo folder's index; none where there is no index."""
    return load_index(zoo).models if (zoo / INDEX_FILE).is_file() else ()


def integer_accuracies(exactness: Path) -> dict[str, float]:
    """SHA-256 of a zoo model -> accuracy of its integer model in C, on 10,000 test images."""
    nets = json.loads(exactness.read_text())["nets"] if exactness.is_file() else []
    return {
        net["model_sha256"]: row["top1"]
        for net in nets
        for row in net["rows"]
        if row["backend"] == "host_c" and row["images"] == 10_000
    }


def best_known_top1(model: ZooModel, proved: Mapping[str, float]) -> tuple[float, bool]:
    """(test accuracy, whether it is the integer model's): the integer model's where it was run, else the training's."""
    return proved.get(model.sha256, model.top1_test), model.sha256 in proved


def flagship_goal(
    flagship: Flagship, models: tuple[ZooModel, ...], proved: Mapping[str, float] = MappingProxyType({})
) -> Goal:
    """The row of one promise."""
    bits = f" W{flagship.bits[0]}A{flagship.bits[1]}" if flagship.bits else ""
    claim = f"zoo `{flagship.size}`{bits}: {flagship.top1} % on test within {flagship.weight_bytes:,} B of weights"
    fitting = [model for model in models if flagship.fits(model)]
    if not fitting:
        return Goal(claim, "", "zoo/index.json", None, "no model of the zoo keeps to these bytes")
    best = max(fitting, key=lambda model: model.top1_validation or 0.0)
    top1, is_integer = best_known_top1(best, proved)
    arithmetic = "integer model" if is_integer else "training's own arithmetic"
    measured = f"{top1:.2f} %, {best.weight_bytes:,} B (`{best.name}`)"
    return Goal(claim, measured, f"test, seed {best.seed}, {arithmetic}", Verdict(top1 >= flagship.top1, False))


def step_goals(results: Path) -> list[Goal]:
    """OABN's and ClusterQAT's cost of a training step, BWRF's reported."""
    rows = json.loads(results.read_text())["rows"] if results.is_file() else []
    if not rows:
        return [
            Goal(
                "cost of a training step relative to plain BN + LSQ",
                "",
                "training.json",
                None,
                "run `make bench-training`",
            )
        ]
    found = []
    for row in rows:
        low, high = row["ratio_quartiles"]
        measured = f"{row['ratio']:.3f}× of {row['baseline']} (quartiles {low:.3f} – {high:.3f})"
        if row["goal"] is not None:
            verdict = Verdict(bool(row["reached"]), low <= row["goal"] < high)
            claim = f"a training step of {row['variant']} costs at most {row['goal']}×"
            found.append(Goal(claim, measured, "CPU time", verdict))
        elif "bwrf" in row["variant"]:
            claim = f"a training step of {row['variant']}: reported"
            found.append(Goal(claim, measured, "CPU time", None, is_report=True))
    return found
