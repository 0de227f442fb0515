from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.report_html import render_html
from deploy.report_runs import compare_runs, pareto_front, runs_view
from deploy.report_schema import validate_report
from train.errors import ConfigError

RUNS = st.lists(st.fixed_dictionaries({"cost": st.integers(1, 9), "top1": st.integers(0, 9)}), min_size=1, max_size=12)


@pytest.fixture
def smaller(report):
    other = copy.deepcopy(report)
    other["name"] = "smaller"
    other["model"]["weight_bytes"] //= 2
    other["accuracy"]["numpy"] = {"top1": 80.0, "images": 360, "wilson_low": 75.6, "wilson_high": 83.8}
    return other


@given(RUNS)
def test_a_run_is_on_the_front_exactly_when_no_other_beats_it(runs):
    front = pareto_front(runs, "cost")
    for number, run in enumerate(runs):
        beaten = any(
            other["cost"] <= run["cost"] and other["top1"] >= run["top1"]
            and (other["cost"], other["top1"]) != (run["cost"], run["top1"])
            for other in runs
        )  # fmt: skip
        equal_before = any(runs[k] == run for k in front if k != number)
        assert (number in front) == (not beaten and not equal_before)


def test_a_report_alone_holds_its_own_run_and_shows_no_comparison(report):
    assert [run["folder"] for run in report["runs"]["runs"]] == [""]
    assert 'id="runs"' not in render_html(report)


def test_runs_of_the_same_data_are_drawn_with_the_front(report, smaller):
    report["runs"] = compare_runs(report, [("runs/smaller", smaller)], "cortex-m4")
    validate_report(report)
    view = runs_view(report["runs"])
    assert [row["best"] for row in view["rows"]][1] == ["weights"]
    weights, instructions = view["charts"]
    assert [point["on_front"] for point in weights["points"]] == [True, True]
    assert [point["on_front"] for point in instructions["points"]] == [True, False]
    assert all(
        0 <= point["x"] <= 100 and 0 <= point["high"] <= point["y"] <= point["low"] <= 100
        for point in weights["points"]
    )
    assert "runs/smaller" in render_html(report)


def test_a_run_of_other_data_is_refused(report, smaller):
    smaller["dataset"]["sha256"] = "f" * 64
    with pytest.raises(ConfigError, match="only runs of the same test images can be compared"):
        compare_runs(report, [("runs/smaller", smaller)], None)
