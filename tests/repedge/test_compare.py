"""Comparing two reports."""

from __future__ import annotations

import copy

from repedge.compare import broken, differences

REPORT = {
    "created_utc": "now",
    "accuracy": {"numpy": {"top1": 98.0, "images": 360}},
    "model": {"weight_bytes": 1000},
    "targets": {"cortex-m4": {"instructions": 5000, "layers": [{"name": "conv0", "instructions": 4000}]}},
}


def test_two_runs_of_one_recipe_have_no_difference():
    assert differences(REPORT, copy.deepcopy(REPORT) | {"created_utc": "later"}) == []


def test_a_slower_layer_is_named_and_breaks_the_threshold():
    slower = copy.deepcopy(REPORT)
    slower["targets"]["cortex-m4"]["layers"][0]["instructions"] = 4400
    (found,) = differences(REPORT, slower)
    assert found.name == "targets.cortex-m4.layers[conv0].instructions"
    assert found.percent == 10.0
    assert broken([found], 5.0) == [found]
    assert broken([found], 10.0) == []


def test_fewer_bytes_and_more_accuracy_break_nothing():
    better = copy.deepcopy(REPORT)
    better["model"]["weight_bytes"] = 500
    better["accuracy"]["numpy"]["top1"] = 99.0
    assert len(differences(REPORT, better)) == 2
    assert broken(differences(REPORT, better), 0.0) == []


def test_lost_accuracy_counts_in_points():
    worse = copy.deepcopy(REPORT)
    worse["accuracy"]["numpy"]["top1"] = 97.0
    assert broken(differences(REPORT, worse), 0.5)
    assert not broken(differences(REPORT, worse), 1.0)


def test_choices_that_were_not_built_are_no_costs_of_a_run():
    other = copy.deepcopy(REPORT)
    other["targets"]["cortex-m4"]["trade_off"] = {"points": [{"ram_bytes": 9000}]}
    other["targets"]["cortex-m4"]["functions"] = [{"name": "main", "instructions": 1}]
    assert differences(REPORT, other) == []
