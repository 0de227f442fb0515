"""The schedule search: bounded, resumable, and its records used by the next build."""

from __future__ import annotations

import json

import pytest

from convert.tvm_schedule import default_schedule, schedules
from deploy.cortex_a import deploy_cortex_a
from deploy.targets import load_target
from deploy.tune import best_schedules, read_trials, records_key, tune, tuned_schedules
from tests.deploy.converted_models import converted_model
from tests.deploy.small_firmware import need
from tests.random_models import random_model
from train.errors import ArtefactError

WIDTHS, STRIDES, BITS = (8, 16), (2, 1), (8, 4)


@pytest.fixture(scope="module")
def target():
    return load_target("cortex-a53")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    model = random_model(61, input_hwc=(8, 8, 3), widths=WIDTHS, strides=STRIDES, bit_widths=BITS)
    return converted_model(model, tmp_path_factory.mktemp("convert"), images=2)


def test_search_without_time_makes_one_trial_and_the_next_goes_on(converted, target, tmp_path):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64", "cc")
    records = tmp_path / "tune" / "cortex-a53.json"

    first = tune(converted, target, records, tmp_path / "work", minutes=0)
    second = tune(converted, target, records, tmp_path / "work", minutes=0)

    assert (first.made, first.complete) == (1, False)
    assert [len(found) for found in second.trials.values()] == [2, 2]
    assert read_trials(records, records_key(converted, target)) == second.trials


def test_best_schedule_is_built_and_needs_what_its_trial_counted(converted, target, tmp_path):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64", "cc")
    records = tmp_path / "records.json"
    for _ in range(3):
        found = tune(converted, target, records, tmp_path / "work", minutes=0)

    tuned = tuned_schedules(converted, target, records)
    result = deploy_cortex_a(converted, target, tmp_path / "out", images=2, tuned=tuned)

    assert tuned == best_schedules(found.trials)
    assert result.exactness.logits_mismatched == 0
    layers = {layer["name"]: layer["instructions"] for layer in result.target["layers"]}
    assert {name: layers[name] for name in tuned} == {name: min(found.trials[name].values()) for name in tuned}


def test_records_of_another_target_are_not_used(converted, target, tmp_path):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64", "cc")
    tune(converted, target, tmp_path / "records.json", tmp_path / "work", minutes=0)

    assert tuned_schedules(converted, target, tmp_path / "records.json")
    assert tuned_schedules(converted, load_target("cortex-a72"), tmp_path / "records.json") == {}


def test_damaged_records_are_refused(converted, target, tmp_path):
    records = tmp_path / "records.json"
    records.write_text(json.dumps({"version": 1, "key": records_key(converted, target), "layers": {"conv0": [{}]}}))

    with pytest.raises(ArtefactError, match="damaged tuning records"):
        tuned_schedules(converted, target, records)


def test_candidates_begin_with_the_default_and_differ(converted):
    conv, shape = converted.model.convs[1], list(converted.model.shapes())[1]

    found = list(schedules(conv, shape, "neon"))

    assert found[0] == default_schedule(conv, shape, "neon")
    assert len(set(found)) == len(found) > 5
