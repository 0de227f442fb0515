"""Tuning: schedules of a Cortex-A target's convolutions, tried one after the other and judged by counted instructions.

A trial builds the whole net with one candidate per layer and counts one inference, so all layers are tried at once. The
records are a JSON file that is written after every trial; a later call goes on where it ended. They belong to one TVM
module and one target, named by `key`; records of another are not used.

    {"version": 1, "key": "…", "layers": {"stage1.0": [{"schedule": {…}, "instructions": 12345}, …]}}
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.integer_model import IntegerModel
from convert.tvm_module import FILE_NAME
from convert.tvm_schedule import Schedule, schedules
from deploy.emulator import build_plugin, run_user
from deploy.result import ConvertedModel
from deploy.targets import CortexATarget
from deploy.tvm_build import (
    IMAGES_NAME,
    LOGITS_NAME,
    RUNNER_NAME,
    build_library,
    cortex_a_target,
    read_logits,
    write_images,
)
from train.artefact import sha256_file, sha256_json, write_json
from train.errors import ArtefactError, Mismatch

VERSION = 1
TRIAL_TIMEOUT_S = 600.0

Trials = dict[str, dict[Schedule, int]]  # layer -> schedule -> instructions of one inference


@dataclass(frozen=True)
class Tuning:
    """What a call to `tune` found: all records, the trials it made itself, and whether none is left."""

    trials: Trials
    made: int
    complete: bool


def records_key(converted: ConvertedModel, target: CortexATarget) -> str:
    """What the records belong to: the TVM module and how it is compiled."""
    return sha256_json([VERSION, sha256_file(converted.folder / FILE_NAME), target.model_dump(mode="json")])


def tune(
    converted: ConvertedModel,
    target: CortexATarget,
    records: Path,
    work: Path,
    *,
    minutes: float,
    say: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Try schedules until none is left or `minutes` have passed since the call; a trial that began is finished."""
    began = time.monotonic()
    key = records_key(converted, target)
    trials = read_trials(records, key)
    plugin = build_plugin(work / "plugin")
    made = 0
    while candidates := _untried(converted.model, target, trials):
        if made and time.monotonic() - began > minutes * 60:
            return Tuning(trials, made, complete=False)
        counts = _measure(converted, target, {**best_schedules(trials), **candidates}, work, plugin)
        for name, schedule in candidates.items():
            trials.setdefault(name, {})[schedule] = counts[name]
        write_trials(records, key, trials)
        made += 1
        best = sum(min(found.values()) for found in trials.values())
        say(f"trial {made}: {len(candidates)} layers, best so far {best:,} instructions in convolutions")
    return Tuning(trials, made, complete=True)


def best_schedules(trials: Trials) -> dict[str, Schedule]:
    """The schedule of the fewest instructions for each layer; of equal ones the first tried."""
    return {name: min(found, key=lambda schedule: found[schedule]) for name, found in trials.items()}


def tuned_schedules(converted: ConvertedModel, target: CortexATarget, records: Path) -> dict[str, Schedule]:
    """What an earlier tuning of this module for this target found; empty where there was none."""
    return best_schedules(read_trials(records, records_key(converted, target)))


def _untried(model: IntegerModel, target: CortexATarget, trials: Trials) -> dict[str, Schedule]:
    """The next candidate of every layer that has one left."""
    candidates = {}
    for conv, shape in zip(model.convs, model.shapes(), strict=False):
        tried = trials.get(conv.name, {})
        left = (schedule for schedule in schedules(conv, shape, target.vector) if schedule not in tried)
        schedule = next(left, None)
        if schedule is not None:
            candidates[conv.name] = schedule
    return candidates


def _measure(
    converted: ConvertedModel, target: CortexATarget, chosen: Mapping[str, Schedule], work: Path, plugin: Path
) -> dict[str, int]:
    """Instructions of one inference by layer; `Mismatch` where its logits are not the reference's."""
    library = build_library(converted, replace(cortex_a_target(target), packed=False), work / "trial", tuned=chosen)
    vectors = converted.vectors.first(1)
    write_images(library.folder, vectors.images)
    run = run_user(
        target,
        library.folder / RUNNER_NAME,
        (IMAGES_NAME, LOGITS_NAME),
        library.folder,
        plugin=plugin,
        timeout_s=TRIAL_TIMEOUT_S,
    )
    if not np.array_equal(read_logits(library.folder, 1, vectors.logits.shape[1]), vectors.logits):
        raise Mismatch(
            f"target {target.name}: schedules {dict(chosen)} give other logits than the reference; "
            "allowed are equal ones; report it as a bug"
        )
    counts = run.counts.layer_instructions(len(library.calls))
    return {conv.name: count for conv, count in zip(converted.model.convs, counts, strict=False)}


def read_trials(path: Path, key: str) -> Trials:
    """The records of `key`; none where the file is missing or belongs to another module or target."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        if content["version"] != VERSION or content["key"] != key:
            return {}
        return {
            name: {Schedule(**entry["schedule"]): int(entry["instructions"]) for entry in entries}
            for name, entries in content["layers"].items()
        }
    except (ValueError, TypeError, KeyError) as error:
        raise ArtefactError(f"{path}: damaged tuning records ({error}); delete the file and tune again") from error


def write_trials(path: Path, key: str, trials: Trials) -> None:
    """Write the records, whole or not at all."""
    layers: dict[str, Any] = {
        name: [{"schedule": asdict(schedule), "instructions": count} for schedule, count in found.items()]
        for name, found in trials.items()
    }
    write_json(path, {"version": VERSION, "key": key, "layers": layers})
