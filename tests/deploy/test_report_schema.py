from __future__ import annotations

import pytest

from deploy.report_schema import read_report, validate_report, write_report
from train.errors import ArtefactError


def test_report_is_read_back_as_written(report, tmp_path):
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path) == report


def test_equal_reports_are_equal_bytes(report, tmp_path):
    write_report(report, tmp_path / "a.json")
    write_report(report, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("targets", "cortex-m4", "flash_bytes", "total"), -1),
        (("exactness", "host_c", "logits_mismatched"), "0"),
        (("accuracy", "numpy", "top1"), 101.0),
        (("layers", 0, "macs"), 1.5),
        (("budget", "limits", 0, "passed"), "yes"),
        (("labels", "model"), "guessed"),
    ],
)
def test_wrong_value_is_an_error_naming_its_path(report, path, value):
    section = report
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(ArtefactError, match=r"report " + r"\.".join(str(key) for key in path) + ":"):
        validate_report(report)


def test_number_that_is_not_finite_is_an_error_naming_its_path(report):
    report["layers"][1]["snr_db"] = float("nan")
    with pytest.raises(ArtefactError, match=r"report layers\.1\.snr_db: nan"):
        validate_report(report)


def test_invalid_report_leaves_no_file(report, tmp_path):
    del report["model"]
    with pytest.raises(ArtefactError, match="'model' is a required property"):
        write_report(report, tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_truncated_report_is_an_error(report, tmp_path):
    write_report(report, tmp_path / "report.json")
    (tmp_path / "report.json").write_text((tmp_path / "report.json").read_text()[:500])
    with pytest.raises(ArtefactError, match="truncated or not JSON"):
        read_report(tmp_path)


def test_missing_report_is_an_error(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        read_report(tmp_path / "report.json")
