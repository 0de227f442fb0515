"""The page of the exactness benchmark."""

from __future__ import annotations

from benchmarks.exactness_tables import markdown

FACTS = {"images": 10, "logits_compared": 100, "saturated_share": 0.01, "distinct_predictions": 3, "top1": 80.0}
EXACT = FACTS | {"backend": "host_c", "must_be_exact": True, "logits_mismatched": 0, "max_difference": 0}
OTHER = FACTS | {"backend": "litert_default", "must_be_exact": False, "logits_mismatched": 7, "max_difference": 2}
TARGET = {
    "target": "cortex-m4",
    "backend": "firmware_cortex-m4",
    "flash_bytes": 1000,
    "ram_bytes": 200,
    "instructions": 12345,
    "cycles_estimated": {"low": 1, "mid": 2, "high": 3},
}
NPU = TARGET | {"target": "ethos-u55-128", "backend": "vela_ethos-u55-128", "instructions": None}
NET = {
    "net": "xs",
    "rows": [EXACT, OTHER],
    "targets": [TARGET, NPU],
    "decoded": ["ethos-u55-128"],
    "notices": ["onnx2tf_int8: baseline, 84 % top-1"],
}


def test_only_back_ends_that_must_be_exact_are_summed():
    assert "must be exact: 0 of 100." in markdown([NET])


def test_other_runtimes_show_share_and_largest_difference():
    assert "| LiteRT, default kernels | xs | 10 | 7 of 100 | 7.00 % | 2 | 80.00 % |" in markdown([NET])


def test_what_is_not_executed_is_said():
    page = markdown([NET])
    assert "| xs | firmware on cortex-m4 (emulated) | 1,000 | 200 | 12,345 | 1 – 3 |" in page
    assert "not executed | 1 – 3 |" in page
    assert "- xs: baseline, 84 % top-1" in page
