"""What changed between two runs: every figure of their reports side by side, and a gate on costs and accuracy."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from train.errors import ArtefactError, ConfigError

COSTS = ("flash_bytes", "ram_bytes", "instructions", "weight_bytes", "cycles_estimated", "latency_ms_estimated")
EXPLAINING = ("trade_off", "functions", "stack_worst_path")  # of a target: what was not built, and where its figures go
COMPARED = ("dataset", "model", "accuracy", "exactness", "targets")  # not: when, where and with what a run was made
NEEDED = ("accuracy", "model", "targets")  # sections that every report has, by check and compare
PRESENT = "there"  # stands for all figures of what the other run lacks
MODEL_FILE = "integer_model.safetensors"


@dataclass(frozen=True)
class Difference:
    """One figure that differs; `percent` is the change relative to A, None where A is 0 or not a number."""

    name: str
    a: Any
    b: Any
    percent: float | None
    worse: bool


def load_report(folder: Path) -> dict[str, Any]:
    """The report.json of a run folder."""
    path = folder / "report.json" if folder.is_dir() else folder
    if not path.is_file():
        raise ArtefactError(f"{folder}: no report.json; run `repedge report RECIPE --out {folder}` first")
    try:
        report = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArtefactError(f"{path}: truncated or not JSON ({error}); write it again with `repedge report`") from error
    missing = [key for key in NEEDED if not isinstance(report, dict) or not isinstance(report.get(key), dict)]
    if missing:
        raise ArtefactError(f"{path}: no report, it lacks {', '.join(missing)}; write it again with `repedge report`")
    return report


def check_threshold(percent: float | None) -> None:
    """`ConfigError` for a threshold that no growth can be measured by."""
    if percent is not None and not (math.isfinite(percent) and percent >= 0):
        raise ConfigError(f"--threshold {percent}: allowed are percents of 0 and more; give 0 to fail on any growth")


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """All that differs: keys of the recipe, data, the integer model's bytes, accuracy, exactness and targets, in this order."""
    left, right = _compared(a), _compared(b)
    lone = _one_sided(left["targets"], right["targets"])
    inside = tuple(f"{item.name}." for item in lone)
    figures = [{name: value for name, value in _figures(side) if not name.startswith(inside)} for side in (left, right)]
    names = list(dict.fromkeys([*figures[0], *figures[1]]))
    pairs = [(name, figures[0].get(name), figures[1].get(name)) for name in names]
    found = [*lone, *(_difference(name, before, after) for name, before, after in pairs if before != after)]
    return sorted(found, key=lambda item: list(left).index(re.split(r"[.\[]", item.name)[0]))


def _one_sided(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """Targets, and layers of targets, that one run alone has: one difference each, whatever figures are inside.

    A target that B lacks is worse: a gate must not pass because nothing is measured any more.
    """
    found = [_lone(f"targets.{name}", name in a, worse=name in a) for name in _only_in_one(a, b)]
    for target in (name for name in a if name in b):
        rows = [{row["name"] for row in side[target].get("layers") or []} for side in (a, b)]
        found += [_lone(f"targets.{target}.layers[{name}]", name in rows[0]) for name in sorted(rows[0] ^ rows[1])]
    return found


def _lone(name: str, in_a: bool, *, worse: bool = False) -> Difference:
    return Difference(name, PRESENT if in_a else None, None if in_a else PRESENT, None, worse)


def _only_in_one(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names in their order that one of two mappings lacks."""
    return [name for name in dict.fromkeys([*a, *b]) if (name in a) != (name in b)]


def _compared(report: dict[str, Any]) -> dict[str, Any]:
    """The sections that count; the integer model stands for all its weights by its hash."""
    recipe = yaml.safe_load(report.get("recipe_yaml") or "") or {}
    recipe.pop("name", None)  # that of the folder
    sections = {"recipe": recipe} | {key: report.get(key, {}) for key in COMPARED}
    digest = report.get("artefacts", {}).get(MODEL_FILE)
    # the intervals follow from top-1 and images
    accuracy = {name: {key: entry[key] for key in ("top1", "images")} for name, entry in sections["accuracy"].items()}
    model = sections["model"] | ({"sha256": digest} if digest else {})
    return sections | {"model": model, "accuracy": accuracy}


def _figures(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in EXPLAINING:
                continue
            yield from _figures(entry, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            label = entry.get("name", number) if isinstance(entry, dict) else number
            yield from _figures(entry, f"{name}[{label}]")
    else:
        yield name, value


def _difference(name: str, a: Any, b: Any) -> Difference:
    if name.startswith("recipe."):
        return Difference(name, a, b, None, worse=False)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    percent = 100.0 * (b - a) / abs(a) if numbers and a else None
    if not numbers:
        return Difference(name, a, b, None, worse=False)
    grows = any(cost in name for cost in COSTS) or "mismatched" in name
    return Difference(name, a, b, percent, worse=(b > a) if grows else (b < a and name.endswith("top1")))


def broken(found: list[Difference], threshold_percent: float) -> list[Difference]:
    """Costs that grew, and top-1 that fell, by more than the threshold (percent of A; points for top-1)."""
    return [item for item in found if item.worse and _size(item) > threshold_percent]


def _size(item: Difference) -> float:
    if item.name.endswith("top1"):
        return float(item.a - item.b)
    return abs(item.percent) if item.percent is not None else float("inf")


def to_json(found: list[Difference]) -> list[dict[str, Any]]:
    """JSON of the differences."""
    return [asdict(item) for item in found]
