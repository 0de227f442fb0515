"""report.json: every fact of a run in one dictionary, gathered from the stages' manifests and the back ends' results.

The HTML page, the terminal summary, the budget gate and `compare` read this dictionary and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.integer_model import IntegerModel
from convert.reference import predict
from convert.vectors import Vectors
from deploy.budget import check_budget
from deploy.config import BudgetConfig
from deploy.report_layers import histograms, joined_branches, layer_rows, memory_timeline, unit_factors
from deploy.report_runs import compare_runs
from deploy.report_samples import class_samples, confusion_samples
from deploy.report_statistics import confusion_matrix, wilson_interval
from deploy.report_weights import MERGED_FILE, load_merged_weights
from deploy.result import BackendResult, load_converted
from deploy.targets import CortexMTarget, Target
from train.artefact import Manifest
from train.errors import ArtefactError

SCHEMA_VERSION = 1

# Which class of number each part of the report holds; keys are paths, `*` stands for any one key.
LABELS = {
    "accuracy.*": "measured",
    "budget.limits.*": "as the figure it limits",
    "confusion": "exact",
    "exactness.*": "exact",
    "histograms.*": "exact",
    "layers.*": "exact",
    "memory_timeline": "exact",
    "model": "exact",
    "runs.*": "measured",
    "runtimes.*": "measured",
    "targets.*.cycles_estimated": "estimated",
    "targets.*.flash_bytes": "exact",
    "targets.*.functions": "exact",
    "targets.*.instructions": "exact",
    "targets.*.instructions_mean": "exact",
    "targets.*.kernel_code_bytes": "exact",
    "targets.*.latency_ms_estimated": "estimated",
    "targets.*.layers.*.cycles_estimated": "estimated",
    "targets.*.peak_ram_bytes": "exact",
    "targets.*.ram_bytes": "exact",
    "targets.*.stack_bound_bytes": "exact",
    "targets.*.stack_used_bytes": "exact",
    "targets.*.trade_off.built": "measured",
    "targets.*.trade_off.points.*.flash_bytes_estimated": "estimated",
    "targets.*.trade_off.points.*.instructions_estimated": "estimated",
    "targets.*.trade_off.points.*.ram_bytes": "exact",
}

# What a target without such a figure says, so that every target has the same keys.
NO_FIGURES: dict[str, Any] = {
    "flash_bytes": None,
    "ram_bytes": None,
    "instructions": None,
    "cycles_estimated": None,
    "latency_ms_estimated": None,
    "layers": [],
}


@dataclass(frozen=True)
class RunFacts:
    """What no manifest holds. `targets` are the target sections that deploy used; `recipe_yaml` is shown verbatim."""

    name: str
    created_utc: str
    recipe_sha256: str
    git_commit: str
    seed: int
    recipe_yaml: str = ""
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()


def build_report(
    *,
    train: Manifest,
    convert: Manifest,
    convert_folder: Path,
    backends: Sequence[BackendResult],
    budget: BudgetConfig | None,
    facts: RunFacts,
    others: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> dict[str, Any]:
    """The whole report; with `budget` its limits are checked, without one `budget.limits` is empty.

    `others` are runs to stand beside this one, as (folder, report); they were tested on the same data.
    """
    converted = load_converted(convert_folder)
    model = converted.model
    latent = load_merged_weights(convert_folder / MERGED_FILE, model)
    factors = unit_factors(model, latent)
    merged = {name: factors[name] * weight for name, weight in latent.items()}
    targets = _targets(backends, facts.targets)
    report: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": facts.name,
        "created_utc": facts.created_utc,
        "tool_versions": _tool_versions(train, convert, facts),
        "recipe_sha256": facts.recipe_sha256,
        "recipe_yaml": facts.recipe_yaml,
        "git_commit": facts.git_commit,
        "seed": facts.seed,
        "artefacts": {"train": train.key, "convert": convert.key, **_file_hashes(convert)},
        "dataset": _metric(train, "dataset"),
        "accuracy": _accuracy(train, convert, backends),
        "exactness": {r.backend: r.exactness.to_json() for r in backends if r.exactness and r.role == "exact"},
        "runtimes": _runtimes(backends),
        "model": _model(model),
        "targets": targets,
        "layers": layer_rows(model, merged),
        "histograms": histograms(model, merged, joined_branches(convert_folder, factors)),
        "memory_timeline": memory_timeline(model, targets),
        "confusion": _confusion(model, converted.vectors),
        "notices": [f"{result.backend}: {notice}" for result in backends for notice in result.notices],
        "labels": LABELS,
    }
    report["budget"] = check_budget(budget or BudgetConfig(), report)
    report["runs"] = compare_runs(report, others, _first_counted(targets))
    return report


def _first_counted(targets: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The target whose figures runs are compared by: the first microcontroller, else the first that counts instructions."""
    counted = [name for name, target in targets.items() if target["instructions"] is not None]
    return next((name for name in counted if targets[name]["kind"] == "cortex_m"), next(iter(counted), None))


def _metric(manifest: Manifest, key: str) -> Any:
    if key not in manifest.metrics:
        raise ArtefactError(
            f"manifest of {manifest.stage}: no metrics.{key}; the report needs it; run the {manifest.stage} stage again"
        )
    return manifest.metrics[key]


def _accuracy(train: Manifest, convert: Manifest, backends: Iterable[BackendResult]) -> dict[str, Any]:
    """Stage or back end -> top1 and images, with the bounds of the 95 % Wilson interval; in the order of the pipeline."""
    stages = _metric(train, "accuracy") | _metric(convert, "accuracy")
    order = [name for name in ("float_train", "merged", "qat", "numpy") if name in stages]
    entries = {name: stages[name] for name in [*order, *sorted(set(stages) - set(order))]}
    entries |= {result.backend: result.accuracy for result in backends if result.accuracy is not None}
    rows = {}
    for name, entry in entries.items():
        low, high = wilson_interval(entry["top1"], entry["images"])
        rows[name] = {"top1": entry["top1"], "images": entry["images"], "wilson_low": low, "wilson_high": high}
    return rows


def _runtimes(backends: Iterable[BackendResult]) -> dict[str, Any]:
    """Foreign runtimes: difference from the reference, and the bytes of the file where a back end says so."""
    rows = {}
    for result in backends:
        if result.exactness and result.role == "runtime":
            size = {} if result.file_bytes is None else {"file_bytes": result.file_bytes}
            rows[result.backend] = result.exactness.to_json() | size
    return rows


def _model(model: IntegerModel) -> dict[str, Any]:
    return {
        "parameters": model.parameters,
        "macs": model.macs,
        "input_hwc": list(model.input_hwc),
        "classes": len(model.class_names),
        "bit_widths": [layer.bit_width for layer in model.layers],
        "activation_bits": [conv.activation_bits for conv in model.convs],
        "codebook_entries": [int(layer.codebook.size) for layer in model.layers],
        "weight_bytes": model.weight_bytes,
    }


def _targets(backends: Iterable[BackendResult], sections: Iterable[Target]) -> dict[str, Any]:
    """Target name -> its figures, with the chip's facts beside them where the target's section is known."""
    known = {section.name: section for section in sections}
    targets = {}
    for result in backends:
        if result.target is None:
            continue
        name = result.target.get("name") or result.backend.partition("_")[2] or result.backend
        chip = _chip(known[name]) if name in known else {}
        figures = {key: value for key, value in result.target.items() if key != "name"}
        targets[name] = {"backend": result.backend, **chip, **NO_FIGURES, **figures}
    return targets


def _chip(section: Target) -> dict[str, Any]:
    facts: dict[str, Any] = {"description": section.description, "clock_hz": section.clock_hz, "source": section.source}
    facts |= {"unverified": list(section.unverified), "unverified_limits": section.unverified_limits()}
    if isinstance(section, CortexMTarget):
        facts["chip"] = section.chip
        facts["capacity"] = {"flash_bytes": section.flash.size_bytes, "ram_bytes": section.ram.size_bytes}
    return facts


def _confusion(model: IntegerModel, vectors: Vectors) -> dict[str, Any]:
    """The reference's predictions on the test split: rows are true classes, columns predictions."""
    matrix = confusion_matrix(vectors.labels, predict(vectors.logits), len(model.class_names))
    return {
        "class_names": list(model.class_names),
        "images": len(vectors.labels),
        "matrix": matrix.tolist(),
        "class_samples": class_samples(vectors, len(model.class_names)),
        "samples": confusion_samples(vectors, matrix),
    }


def _tool_versions(train: Manifest, convert: Manifest, facts: RunFacts) -> dict[str, str]:
    """Tool -> version; a tool that stages used in different versions lists them all, joined by " / "."""
    versions: dict[str, list[str]] = {}
    for source in (train.tool_versions, convert.tool_versions, facts.tool_versions):
        for tool, version in source.items():
            if version not in versions.setdefault(tool, []):
                versions[tool].append(version)
    return {tool: " / ".join(found) for tool, found in sorted(versions.items())}


def _file_hashes(convert: Manifest) -> dict[str, str]:
    """SHA-256 of the files that define the result: the integer model, its merged weights and the test vectors."""
    return {
        name: entry.sha256 for name, entry in sorted(convert.files.items()) if name.endswith((".safetensors", ".npz"))
    }
