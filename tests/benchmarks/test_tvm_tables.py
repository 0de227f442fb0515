"""The page of the TVM benchmark."""

from __future__ import annotations

from benchmarks.tvm_peers import per_inference
from benchmarks.tvm_tables import markdown

ROW = {
    "net": "xs",
    "cpu": "cortex-a53",
    "macs": 1000,
    "logits_mismatched": 0,
    "instructions": {"repedge-tvm": 250.0, "tflite-runtime": 600.0, "ai-edge-litert": 500.0},
    "ratio": 0.5,
}


def test_inference_is_eleven_runs_less_one_over_ten():
    assert per_inference([1_000, 2_000]) == 100.0


def test_worst_row_is_named():
    page = markdown([ROW, ROW | {"net": "m", "ratio": 0.75}])

    assert "Worst ratio: 0.75 (m on cortex-a53)" in page
    assert "| xs | cortex-a53 | 1,000 | 250 | 0.250 | 600 | 500 | 0.50 |" in page
