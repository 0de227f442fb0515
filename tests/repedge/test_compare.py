"""Comparing two reports."""

from __future__ import annotations

import copy
import json

import pytest

from repedge.cli import main
from repedge.compare import broken, differences

REPORT = {
    "created_utc": "now",
    "accuracy": {"numpy": {"top1": 98.0, "images": 360}},
    "model": {"weight_bytes": 1000},
    "targets": {"cortex-m4": {"instructions": 5000, "layers": [{"name": "conv0", "instructions": 4000}]}},
}


def test_two_runs_of_one_recipe_have_no_difference():
    assert differences(REPORT, copy.deepcopy(REPORT) | {"created_utc": "later"}) == []


def test_two_folders_of_one_recipe_have_no_difference_and_exit_0(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        report = REPORT | {"name": name, "created_utc": name, "recipe_yaml": f"name: {name}\nseed: 1\n"}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--threshold", "0"]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_other_weights_of_the_same_size_are_a_difference():
    a = REPORT | {"artefacts": {"integer_model.safetensors": "0" * 64}}
    b = REPORT | {"artefacts": {"integer_model.safetensors": "1" * 64}}
    assert [item.name for item in differences(a, b)] == ["model.sha256"]


def test_changed_keys_of_the_recipe_come_first_and_break_nothing():
    a = REPORT | {"recipe_yaml": "name: a\nquantize: {weights: {bit_width: 4}}\n"}
    b = copy.deepcopy(REPORT) | {"recipe_yaml": "name: b\nquantize: {weights: {bit_width: 3}}\n"}
    b["model"]["weight_bytes"] = 800
    found = differences(a, b)
    assert [item.name for item in found] == ["recipe.quantize.weights.bit_width", "model.weight_bytes"]
    assert broken(found, 0.0) == []


def test_tables_are_by_subject_and_a_broken_threshold_is_exit_1(tmp_path, capsys):
    slower = copy.deepcopy(REPORT)
    slower["targets"]["cortex-m4"]["layers"][0]["instructions"] = 4400
    slower["targets"]["cortex-m4"]["instructions"] = 5400
    for name, report in (("a", REPORT), ("b", slower)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    arguments = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--threshold", "5"]
    assert main([*arguments, "--markdown"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("# a → b\n\n2 differences, 2 beyond the threshold of 5 %.")
    assert "## cortex-m4, by layer" in text
    assert "| **conv0: instructions** | **4,000** | **4,400** | **+10.00 %** |" in text
    assert main([*arguments[:-1], "20"]) == 0
    assert "cortex-m4, whole inference" in capsys.readouterr().out


def test_a_lost_target_is_one_difference_that_breaks_any_threshold():
    other = copy.deepcopy(REPORT)
    other["targets"] = {"cortex-m7": other["targets"]["cortex-m4"]}
    found = differences(REPORT, other)
    assert [(item.name, item.a, item.b) for item in found] == [
        ("targets.cortex-m4", "there", None), ("targets.cortex-m7", None, "there"),
    ]  # fmt: skip
    assert [item.name for item in broken(found, 1000)] == ["targets.cortex-m4"]


def test_a_layer_of_one_run_alone_is_one_difference():
    other = copy.deepcopy(REPORT)
    other["targets"]["cortex-m4"]["layers"].append({"name": "conv1", "instructions": 1, "macs": 9})
    assert [item.name for item in differences(REPORT, other)] == ["targets.cortex-m4.layers[conv1]"]


def test_the_terminal_ends_with_the_verdict_and_what_broke_it(tmp_path, capsys):
    worse = copy.deepcopy(REPORT)
    worse["model"]["weight_bytes"] = 1002
    for name, report in (("a", REPORT), ("b", worse)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--threshold", "0.1"]) == 1
    assert capsys.readouterr().out.endswith(
        "1 difference, 1 beyond the threshold of 0.1 %.\nFAIL  model.weight_bytes: 1,000 → 1,002  +0.20 %\n"
    )


@pytest.mark.parametrize("threshold", ["-1", "nan", "inf"])
def test_a_threshold_that_measures_nothing_is_wrong_usage(tmp_path, capsys, threshold):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    assert main(["compare", str(tmp_path), str(tmp_path), f"--threshold={threshold}"]) == 2
    assert "allowed are percents of 0 and more" in capsys.readouterr().err


def test_what_is_no_report_is_refused(tmp_path, capsys):
    for content in ("[]", '{"a": 1}', "["):
        (tmp_path / "report.json").write_text(content)
        assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
        assert main(["check", str(tmp_path)]) == 2
        assert "write it again with `repedge report`" in capsys.readouterr().err


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


@pytest.mark.parametrize("content", [b"[1]", b'{"schema_version": 99}', b"\xff\xfe{}", b"", b'{"model": {}'])
@pytest.mark.parametrize("verb", ["check", "compare"])
def test_a_report_that_is_none_is_exit_2_and_one_line(tmp_path, capsys, content, verb):
    (tmp_path / "report.json").write_bytes(content)
    (tmp_path / "recipe.yaml").write_text("name: a\nmodel: {size: xs}\n")
    assert main([verb, str(tmp_path), *([str(tmp_path)] if verb == "compare" else [])]) == 2
    assert "write it again with `repedge report`" in capsys.readouterr().err
