from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.reference import predict
from deploy.report_schema import validate_report
from deploy.result import BackendResult
from tests.deploy.conftest import BUDGET
from tests.report_example import example_run
from train.errors import ArtefactError


def test_built_report_is_valid_under_the_published_schema(report):
    validate_report(report)


def test_report_without_back_ends_and_budget_is_valid(report_run):
    bare = dataclasses.replace(report_run, backends=())
    report = bare.report()
    validate_report(report)
    assert report["budget"] == {"passed": True, "limits": []} and report["targets"] == {}


def test_equal_runs_give_equal_reports(report, tmp_path):
    assert example_run(tmp_path).report(BUDGET) == report


def test_accuracy_follows_the_pipeline_and_holds_its_interval(report):
    assert list(report["accuracy"])[:5] == ["float_train", "merged", "qat", "numpy", "host_c"]
    assert all(entry["wilson_low"] < entry["top1"] < entry["wilson_high"] for entry in report["accuracy"].values())


def test_foreign_runtimes_are_kept_apart_from_proofs(report):
    assert set(report["runtimes"]) == {"tflite_xnnpack"}
    assert set(report["exactness"]) == {"host_c", "tflite_ref", "tvm_host", "tvm_cortex-a53", "firmware_cortex-m4"}


def test_targets_are_named_and_carry_the_chip_and_the_same_keys(report):
    assert set(report["targets"]) == {"cortex-m4", "cortex-a53", "ethos-u55-128"}
    assert report["targets"]["cortex-m4"]["capacity"] == {"flash_bytes": 0x100000, "ram_bytes": 0x20000}
    assert report["targets"]["ethos-u55-128"]["instructions"] is None


def test_layer_rows_sum_to_the_model(report, report_run):
    model = report_run.model
    assert [row["name"] for row in report["layers"]] == [shape.name for shape in model.shapes()]
    assert sum(row["macs"] for row in report["layers"]) == model.macs
    assert sum(row["flash_bytes"] for row in report["layers"]) == report["model"]["weight_bytes"] == model.weight_bytes


def test_histograms_count_every_weight_once_before_and_after(report, report_run):
    for layer, histogram in zip(report_run.model.layers, report["histograms"], strict=True):
        assert sum(histogram["merged_counts"]) == sum(histogram["quantized_counts"]) == layer.indices.size


def test_confusion_counts_every_test_image(report, report_run):
    matrix = np.array(report["confusion"]["matrix"])
    vectors = report_run.vectors
    assert matrix.sum() == len(vectors.labels)
    assert np.trace(matrix) == int((predict(vectors.logits) == vectors.labels).sum())


def test_memory_timeline_peaks_at_the_arena_of_the_microcontroller(report):
    timeline = report["memory_timeline"]
    assert timeline["target"] == "cortex-m4"
    assert max(row["total_bytes"] for row in timeline["layers"]) == timeline["arena_bytes"]


def test_scratch_is_unknown_without_a_microcontroller(report_run):
    timeline = dataclasses.replace(report_run, backends=()).report()["memory_timeline"]
    assert timeline["arena_bytes"] is None and all(row["scratch_bytes"] is None for row in timeline["layers"])


def test_snr_is_the_same_whether_or_not_lowering_rebased_the_scales(report_run, tmp_path):
    rebased = example_run(tmp_path, activation_bits=4).report()
    # the noise is 8 % of the weights' deviation, so 20·log10(1 / 0.08) = 21.9 dB, a little more with a mean
    assert all(21 < row["snr_db"] < 24 for row in rebased["layers"][1:] if row["snr_db"] is not None)


def test_tool_in_two_versions_names_both(report_run):
    train = report_run.train.model_copy(update={"tool_versions": {"numpy": "1.25.0"}})
    assert dataclasses.replace(report_run, train=train).report()["tool_versions"]["numpy"] == "1.25.0 / 1.26.4"


def test_notices_name_their_back_end(report_run):
    noisy = dataclasses.replace(report_run, backends=(BackendResult("vela_x", notices=("palette too large",)),))
    assert noisy.report()["notices"] == ["vela_x: palette too large"]


def test_manifest_without_accuracy_is_an_error_naming_the_stage(report_run):
    train = report_run.train.model_copy(update={"metrics": {"dataset": report_run.train.metrics["dataset"]}})
    with pytest.raises(ArtefactError, match=r"manifest of train: no metrics\.accuracy"):
        dataclasses.replace(report_run, train=train).report()


def test_labels_never_call_an_estimate_exact(report):
    labels = report["labels"]
    assert {path for path, kind in labels.items() if kind == "estimated"} == {
        p for p in labels if p.endswith("_estimated")
    }
