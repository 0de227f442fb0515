"""What a reader of the report sees first, derived from report.json: verdict, headline figures, budget rows, proof rows.

Pure functions from the report's dictionary to rows of text; the HTML page and the terminal summary share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy import report_format as fmt
from deploy.budget import describe_limit

Report = Mapping[str, Any]
SATURATION_LIMIT = 0.5  # a proof on mostly clamped logits says little


@dataclass(frozen=True)
class Verdict:
    """One line for the top of the page; `details` are the reasons, worst first."""

    passed: bool
    title: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A headline number: label, value, what stands below it, and its class (exact, measured, estimated)."""

    label: str
    value: str
    note: str
    kind: str


def verdict(report: Report) -> Verdict:
    """Passed when at least one back end ran, no proven logit differs and no limit is broken."""
    rows, limits = proof_rows(report), report["budget"]["limits"]
    differing = [row for row in rows if not row["equal"]]
    broken = [limit for limit in limits if not limit["passed"]]
    reasons = [
        f"{row['title']}: {row['logits_mismatched']:,} of {row['logits_compared']:,} logits differ" for row in differing
    ]
    reasons += [describe_limit(limit) for limit in broken]
    if rows and not reasons:
        reasons.append(proof_sentence(report))
    reasons += [f"{row['title']}: {row['caution']}, so equality says little" for row in rows if row["caution"]]
    if not rows:
        proof = "Not proven, no back end ran"
    elif differing:
        proof = f"Not proven, {len(differing)} of {len(rows)} back ends differ"
    else:
        proof = "Proven bit for bit"
    title = f"{proof}; {_budget_phrase(len(limits), len(broken))}"
    return Verdict(bool(rows) and not differing and not broken, title, tuple(reasons))


def _budget_phrase(limits: int, broken: int) -> str:
    if not limits:
        return "no budget set"
    return f"{broken} of {limits} limits broken" if broken else f"all {limits} limits met"


def proof_sentence(report: Report) -> str:
    """How many logits were compared over how many back ends, and how many differ."""
    entries = report["exactness"].values()
    compared = sum(entry["logits_compared"] for entry in entries)
    differing = sum(entry["logits_mismatched"] for entry in entries)
    return (
        f"{len(entries)} back ends compared with the numpy reference, logit by logit: "
        f"{compared:,} logits, {differing:,} differ."
    )


def main_target(report: Report) -> str | None:
    """The target whose figures stand at the top: the first microcontroller, else the first target."""
    targets = report["targets"]
    return next((name for name, entry in targets.items() if entry["kind"] == "cortex_m"), next(iter(targets), None))


def headline(report: Report) -> list[Figure]:
    """Accuracy first, then what the main target needs."""
    accuracy, model = report["accuracy"]["numpy"], report["model"]
    loss = accuracy["top1"] - report["accuracy"]["float_train"]["top1"]
    interval = f"{accuracy['wilson_low']:.1f} – {accuracy['wilson_high']:.1f} %, {accuracy['images']:,} images"
    float_top1 = fmt.percent(report["accuracy"]["float_train"]["top1"])
    figures = [
        Figure("Top-1, integer model", fmt.percent(accuracy["top1"]), interval, "measured"),
        Figure("Against float", f"{loss:+.2f} points".replace("-", "−"), f"float {float_top1}", "measured"),
    ]
    name = main_target(report)
    if name:
        figures += _target_figures(name, report["targets"][name])
    weights = f"{model['weight_bytes']:,} B for {model['parameters']:,} parameters"
    figures.append(Figure("Weights, packed", fmt.size(model["weight_bytes"]), weights, "exact"))
    figures.append(Figure("MACs", fmt.count(model["macs"]), "per inference", "exact"))
    return figures


def _target_figures(name: str, target: Mapping[str, Any]) -> list[Figure]:
    figures = []
    for label, key in (("Flash", "flash_bytes"), ("RAM", "ram_bytes")):
        if target[key]:
            note = f"{target[key]['total']:,} B{_of_capacity(target, key)}"
            figures.append(Figure(f"{label}, {name}", fmt.size(target[key]["total"]), note, "exact"))
    if target["instructions"] is not None:
        note = instructions_note(target) or "per inference"
        figures.append(Figure(f"Instructions, {name}", fmt.count(target["instructions"]), note, "exact"))
    latency = target["latency_ms_estimated"]
    if latency:
        note = f"{fmt.band_range(latency)} ms{_clock(target)}"
        figures.append(Figure(f"Latency, {name}", f"{fmt.band_middle(latency)} ms", note, "estimated"))
    return figures


def instructions_note(target: Mapping[str, Any]) -> str:
    """The mean over several images, where the target ran them; the figure itself is that of the first test image."""
    mean = target.get("instructions_mean")
    return f"first image; mean of {mean['images']}: {fmt.count(mean['mean'])}" if mean else ""


def stack_note(target: Mapping[str, Any]) -> str:
    """The used part of the reserved stack, where the target measured it; of two measurements the larger."""
    used = target.get("stack_used_bytes")
    return f"{max(used.values()):,} B of the stack used" if used else ""


def _of_capacity(target: Mapping[str, Any], key: str) -> str:
    capacity = target.get("capacity", {}).get(key)
    return f", {fmt.percent(100 * target[key]['total'] / capacity, 1)} of {fmt.size(capacity)}" if capacity else ""


def _clock(target: Mapping[str, Any]) -> str:
    return f" at {target['clock_hz'] / 1e6:,.0f} MHz" if "clock_hz" in target else ""


def limit_kind(name: str) -> str:
    """The class of the figure that a limit compares."""
    if name.startswith("accuracy."):
        return "measured"
    return "estimated" if name.endswith(".latency_ms") else "exact"


def budget_rows(report: Report) -> list[dict[str, Any]]:
    """One row per limit: texts, class, and `share` = value / limit in percent for the bar."""
    rows = []
    for limit in report["budget"]["limits"]:
        share = 100 * limit["value"] / limit["limit"] if limit["limit"] > 0 else 0.0
        rows.append(
            {
                "name": limit["name"],
                "passed": limit["passed"],
                "value": fmt.quantity(limit["value"], limit["unit"]),
                "limit": f"{'≥' if limit['direction'] == 'min' else '≤'} {fmt.quantity(limit['limit'], limit['unit'])}",
                "share": max(0.0, share),
                "used": _used(limit, share),
                "is_minimum": limit["direction"] == "min",
                "worst_layer": limit["worst_layer"],
                "kind": limit_kind(limit["name"]),
            }
        )
    return rows


def _used(limit: Mapping[str, Any], share: float) -> str:
    """The share of a limit that is used, or by how much it is broken: one byte over is not "100 %"."""
    if limit["passed"]:
        return fmt.MISSING if limit["direction"] == "min" else fmt.percent(max(0.0, share), 1)
    unit = "points" if limit["unit"] == "percent" else limit["unit"]
    return f"{fmt.quantity(abs(limit['value'] - limit['limit']), unit)} {'short' if limit['direction'] == 'min' else 'over'}"


def proof_rows(report: Report, section: str = "exactness") -> list[dict[str, Any]]:
    """One row per back end of `exactness` or `runtimes`; `caution` says when "equal" would mean little."""
    rows = []
    for name, entry in report[section].items():
        compared = max(1, entry["logits_compared"])
        cautions = []
        if entry["saturated_share"] >= SATURATION_LIMIT:
            cautions.append("most logits are clamped")
        if entry["distinct_predictions"] < 2:
            cautions.append("only one class is predicted")
        rows.append(
            {
                "name": name,
                "title": fmt.stage_title(name),
                "equal": entry["logits_mismatched"] == 0,
                "mismatch_share": 100 * entry["logits_mismatched"] / compared,
                "caution": "; ".join(cautions),
                **entry,
            }
        )
    return rows


def executed(target: Mapping[str, Any]) -> str:
    """How a target's figures came about."""
    return "compiled and decoded, not executed" if target["kind"] == "ethos_u" else "executed under emulation"


def npu_targets(report: Report) -> list[tuple[str, dict[str, Any]]]:
    """NPUs that were compared with uniform int8 weights; layers without weights have None for the figures of weights."""
    found = []
    for name, target in report["targets"].items():
        if "uniform_int8" in target:
            layers = [_with_weights(row) for row in target["layers"]]
            found.append((name, {**target, "layers": layers}))
    return found


def _with_weights(row: Mapping[str, Any]) -> dict[str, Any]:
    figures = ("weight_bytes", "bits_per_weight")
    plain = dict.fromkeys(figures) | dict(row["uniform_int8"])
    return dict.fromkeys(("codebook_entries", *figures)) | dict(row) | {"uniform_int8": plain}
