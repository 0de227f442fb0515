"""The budget gate: each limit compared with the report's figure, the worst layer named.

A limit is kept when it is met exactly. Latency is compared with the upper end of its band. A limit whose figure does
not exist is a `ConfigError`, never a pass.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from deploy.config import AccuracyLimits, BudgetConfig, TargetLimits
from deploy.targets import CortexMTarget, Target
from train.errors import BudgetExceeded, ConfigError
from train.validation import explain
from train.yaml_file import read_yaml_mapping

# figures that a kind of target cannot have: an NPU is not executed here
NEVER_KNOWN = {"ethos_u": ("instructions",)}
UNITS = {"flash_bytes": "bytes", "ram_bytes": "bytes", "instructions": "instructions", "latency_ms": "ms"}


def check_budget(config: BudgetConfig, report: Mapping[str, Any]) -> dict[str, Any]:
    """report.json's `budget` section: `passed` and one entry per limit: accuracy, model, then targets by name."""
    limits = _accuracy_limits(config.accuracy, report)
    if config.model.weight_bytes is not None:
        limits.append(_weight_limit(config.model.weight_bytes, report))
    for name in sorted(config.targets):
        limits += _target_limits(name, config.targets[name], report)
    return {"passed": all(limit["passed"] for limit in limits), "limits": limits}


def check_figures_exist(config: BudgetConfig, targets: Sequence[Target]) -> None:
    """Before any work: `ConfigError` for a limit that no figure, or only an unverified one, stands behind."""
    known_targets = {target.name: target for target in targets}
    kinds = {name: target.kind for name, target in known_targets.items()}
    unverified = {target.name: target.unverified_limits() for target in targets}
    for name, limits in config.targets.items():
        if name not in kinds:
            raise ConfigError(
                f"budget targets.{name}: not among the deployed targets ({', '.join(kinds)}), so it would have no figures"
                f"{_did_you_mean(name, list(kinds))}"
            )
        _check_regions_exist(name, limits, known_targets[name])
        for key, limit in limits.model_dump(include=set(UNITS)).items():
            if limit is not None and key in NEVER_KNOWN.get(kinds[name], ()):
                known = [other for other in UNITS if other not in NEVER_KNOWN[kinds[name]]]
                raise ConfigError(
                    f"budget targets.{name}.{key}: no such figure exists for {name}, which is compiled but not executed; "
                    f"available are {', '.join(known)}; remove the limit or set one of these"
                )
            if limit is not None:
                _refuse_unverified(name, key, unverified[name])


def _check_regions_exist(name: str, limits: TargetLimits, target: Target) -> None:
    """`ConfigError` for a limit on a region that the target lacks, or whose figures were read in no text."""
    known = ["flash", "ram", *target.regions] if isinstance(target, CortexMTarget) else []
    for region in limits.regions:
        if region not in known:
            raise ConfigError(_no_region(name, region, known))
        _refuse_unverified(name, f"regions.{region}", {f"regions.{figure}": figure for figure in target.unverified})


def _no_region(name: str, region: str, known: list[str]) -> str:
    return (
        f"budget targets.{name}.regions.{region}: no such memory region; {name} has {', '.join(known) or 'none'}"
        f"{_did_you_mean(region, known)}"
    )


def _refuse_unverified(name: str, key: str, unverified: Mapping[str, str]) -> None:
    """`ConfigError` where the limit would rest on a figure that was read in no text."""
    if key in unverified:
        raise ConfigError(
            f"budget targets.{name}.{key}: it would rest on {unverified[key]}, which was read in no text (unverified); "
            "remove the limit, or copy the target's file, correct the figure there and name the copy by its path"
        )


def raise_if_broken(budget: Mapping[str, Any]) -> None:
    """Raise `BudgetExceeded` with one line per broken limit."""
    broken = [describe_limit(limit) for limit in budget["limits"] if not limit["passed"]]
    if broken:
        raise BudgetExceeded(
            f"{len(broken)} of {len(budget['limits'])} limits broken:\n  " + "\n  ".join(broken)
            + "\nmake the net or its bit widths smaller, or raise the limit in the budget"
        )  # fmt: skip


def describe_limit(limit: Mapping[str, Any]) -> str:
    """One line: name, value, limit and, when a layer carries most of it, that layer."""
    relation = "at least" if limit["direction"] == "min" else "at most"
    line = f"{limit['name']}: {value_text(limit)} {limit['unit']}, allowed {relation} {limit['limit']:,.10g}"
    return f"{line}; worst layer: {limit['worst_layer']}" if limit["worst_layer"] else line


def value_text(limit: Mapping[str, Any]) -> str:
    """The value with two decimals, or as many more as tell it from its limit: 99.996 is not 100.

    >>> value_text({"value": 4.953291667, "limit": 20}), value_text({"value": 99.996, "limit": 100})
    ('4.95', '99.996')
    """
    value, bound = limit["value"], limit["limit"]
    if isinstance(value, int) or value == bound:
        return f"{value:,.10g}"
    fewest = (
        places
        for places in range(2, 10)
        if (round(value, places) < bound) == (value < bound) and round(value, places) != bound
    )
    places = next(fewest, None)
    return f"{value:,.10g}" if places is None else f"{value:,.{places}f}"


def load_budget(path: Path) -> BudgetConfig:
    """A budget file: the `accuracy`, `model` and `targets` sections of a recipe's `budget`, as YAML."""
    content = read_yaml_mapping(
        path, "budget", "give a YAML file with one of the keys accuracy, model and targets, and at least one limit"
    )
    try:
        config = BudgetConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{explain(error, BudgetConfig)}") from error
    if not _limit_count(config):
        raise ConfigError(
            f"{path}: no limit in it; a budget sets at least one, e.g. targets.cortex-m4.flash_bytes: 65536"
        )
    return config


def _limit_count(config: BudgetConfig) -> int:
    sections: list[BaseModel] = [config.accuracy, config.model, *config.targets.values()]
    values = [value for section in sections for value in section.model_dump(exclude={"regions"}).values()]
    return sum(value is not None for value in values) + sum(len(limits.regions) for limits in config.targets.values())


def _did_you_mean(found: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(found, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else "; remove it"


def _accuracy_limits(config: AccuracyLimits, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    limits = []
    if config.top1_min is not None:
        top1 = _top1(report, "numpy", "accuracy.top1_min")
        limits.append(_limit("accuracy.top1_min", config.top1_min, top1, "percent", direction="min"))
    if config.top1_loss_max is not None:
        name = "accuracy.top1_loss_max"
        loss = round(_top1(report, "float_train", name) - _top1(report, "numpy", name), 9)
        limits.append(_limit("accuracy.top1_loss_max", config.top1_loss_max, loss, "points"))
    return limits


def _top1(report: Mapping[str, Any], stage: str, limit: str) -> float:
    """Percent, rounded to 9 digits: 29 of 100 images are 29 percent, not 28.999999999999996."""
    entry = report["accuracy"].get(stage)
    if entry is None:
        raise ConfigError(
            f"budget {limit}: the report has no accuracy of {stage}; "
            f"available are {', '.join(report['accuracy']) or 'none'}; remove the limit or run that stage"
        )
    return round(float(entry["top1"]), 9)


def _weight_limit(limit: int, report: Mapping[str, Any]) -> dict[str, Any]:
    worst = _worst_layer({}, "flash_bytes", report)
    return _limit("model.weight_bytes", limit, report["model"]["weight_bytes"], "bytes", worst_layer=worst)


def _target_limits(name: str, config: TargetLimits, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    targets = report["targets"]
    if name not in targets:
        available = sorted(targets)
        raise ConfigError(
            f"budget targets.{name}: no such target in the report; available are {', '.join(available) or 'none'}"
            f"{_did_you_mean(name, available)}"
        )
    limits = _region_limits(name, config, targets[name], report)
    for key, limit in config.model_dump(include=set(UNITS)).items():
        if limit is not None:
            _refuse_unverified(name, key, targets[name].get("unverified_limits", {}))
            value = _figure(targets[name], key)
            if value is None:
                raise ConfigError(_no_figure(name, key, targets[name]))
            worst = _worst_layer(targets[name], key, report)
            limits.append(_limit(f"{name}.{key}", limit, value, UNITS[key], worst_layer=worst))
    return limits


def _region_limits(
    name: str, config: TargetLimits, target: Mapping[str, Any], report: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One entry per limited memory region, in the budget's order."""
    unverified = {f"regions.{figure}": figure for figure in target.get("unverified", [])}
    limits = []
    for region, limit in config.regions.items():
        if "regions" not in target:
            raise ConfigError(
                f"budget targets.{name}.regions.{region}: the report holds no memory regions of {name}; "
                "run `repedge deploy` again if it is a microcontroller, or remove the limit"
            )
        use = target["regions"].get(region)
        if use is None:
            raise ConfigError(_no_region(name, region, list(target["regions"])))
        _refuse_unverified(name, f"regions.{region}", unverified)
        key = {"flash": "flash_bytes", "ram": "ram_bytes"}.get(region)
        worst = _worst_layer(target, key, report) if key else None
        limits.append(_limit(f"{name}.regions.{region}", limit, use["used_bytes"], "bytes", worst_layer=worst))
    return limits


def _figure(target: Mapping[str, Any], key: str) -> float | int | None:
    """The value a limit is compared with; None where the target has no such figure."""
    if key == "latency_ms":
        band = target.get("latency_ms_estimated")
        return None if band is None else band["high"]
    if key == "instructions":
        return target.get("instructions")
    region = target.get(key)
    return None if region is None else region["total"]


def _no_figure(name: str, key: str, target: Mapping[str, Any]) -> str:
    available = [other for other in UNITS if _figure(target, other) is not None]
    return (
        f"budget targets.{name}.{key}: no such figure exists for {name}; "
        f"available are {', '.join(available) or 'none'}; remove the limit or set one of these"
    )


def _worst_layer(target: Mapping[str, Any], key: str, report: Mapping[str, Any]) -> str | None:
    """The layer with the largest share: of cycles for latency where known, else of instructions."""
    keys = ("cycles_estimated", "instructions") if key == "latency_ms" else (key,)
    for rows in (target.get("layers") or [], report.get("layers") or []):
        for column in keys:
            known = [row for row in rows if isinstance(row.get(column), int | float)]
            if known:
                return str(max(known, key=lambda row: row[column])["name"])
    return None


def _limit(
    name: str,
    limit: float,
    value: float,
    unit: str,
    *,
    direction: str = "max",
    worst_layer: str | None = None,
) -> dict[str, Any]:
    if not math.isfinite(limit):
        raise ConfigError(f"budget {name}: limit {limit}, allowed are finite numbers; correct or remove it")
    passed = value >= limit if direction == "min" else value <= limit
    return {
        "name": name, "limit": limit, "value": value, "unit": unit, "direction": direction,
        "passed": passed, "worst_layer": worst_layer,
    }  # fmt: skip
