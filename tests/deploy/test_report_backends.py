"""The comparison of all back ends."""

from __future__ import annotations

from deploy.report_backends import COLUMNS, backend_rows

REPORT = {
    "targets": {
        "cortex-m4": {
            "backend": "firmware_cortex-m4",
            "flash_bytes": {"total": 46568},
            "ram_bytes": {"total": 14608},
            "instructions": 456675,
            "cycles_estimated": {"low": 600000, "mid": 700000, "high": 800000},
        },
        "ethos-u55-128": {
            "backend": "vela_ethos-u55-128",
            "flash_bytes": {"total": 20000},
            "ram_bytes": None,
            "instructions": None,
            "cycles_estimated": None,
        },
    },
    "exactness": {
        "host_c": {"logits_mismatched": 0, "logits_compared": 3640},
        "firmware_cortex-m4": {"logits_mismatched": 0, "logits_compared": 2000},
    },
    "runtimes": {"onnx2tf_int8": {"logits_mismatched": 7, "logits_compared": 3640, "file_bytes": 80720}},
    "accuracy": {"firmware_cortex-m4": {"top1": 99.5, "images": 200}},
}


def test_every_back_end_has_one_row():
    rows = {row[0]: row for row in backend_rows(REPORT)}

    assert all(len(row) == len(COLUMNS) for row in rows.values())
    assert list(rows) == [
        "C on the host",
        "firmware on cortex-m4 (emulated)",
        "baseline: onnx2tf's int8 of the float net",
        "vela ethos-u55-128",
    ]


def test_row_holds_bytes_instructions_mismatches_and_accuracy():
    row = next(row for row in backend_rows(REPORT) if row[0].startswith("firmware"))

    assert row[1:4] == ("46,568", "14,608", "456,675")
    assert row[5:] == ("0 of 2,000", "99.50 % of 200")


def test_compiled_only_says_so():
    assert backend_rows(REPORT)[-1][5] == "not executed"
