"""The example run, written once for all tests of the report."""

from __future__ import annotations

import copy

import pytest

from deploy.config import BudgetConfig
from tests.report_example import ExampleRun, example_run

BUDGET = BudgetConfig.model_validate(
    {
        "accuracy": {"top1_min": 97, "top1_loss_max": 1},
        "targets": {
            "cortex-m4": {"flash_bytes": 24576, "ram_bytes": 4096, "instructions": 6000000, "latency_ms": 40},
            "cortex-a53": {"flash_bytes": 40960},
            "ethos-u55-128": {"ram_bytes": 131072},
        },
    }
)


@pytest.fixture(scope="session")
def report_run(tmp_path_factory) -> ExampleRun:
    return example_run(tmp_path_factory.mktemp("convert"))


@pytest.fixture(scope="session")
def _report(report_run) -> dict:
    return report_run.report(BUDGET)


@pytest.fixture
def report(_report) -> dict:
    return copy.deepcopy(_report)
