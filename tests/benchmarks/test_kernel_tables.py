"""The page of kernels says what the results say, and every result is exact."""

from __future__ import annotations

import json

import pytest

from benchmarks.kernel_cases import PEER_LAYERS
from benchmarks.kernel_tables import markdown
from benchmarks.kernels import PAGE, PEERS, RANDOM_SHAPES, RESULTS


@pytest.fixture(scope="module")
def rows():
    """Our own rows of the committed results."""
    return [row for row in json.loads(RESULTS.read_text())["rows"] if "peer" not in row]


@pytest.fixture(scope="module")
def shapes():
    """What kernel_shapes found."""
    return json.loads(RESULTS.read_text())[RANDOM_SHAPES]


def test_committed_page_is_made_of_the_committed_results(rows, shapes):
    assert markdown(rows, json.loads(PEERS.read_text()), shapes) == PAGE.read_text()


def test_ten_thousand_layers_on_the_host_and_five_hundred_on_every_core_equal_the_reference(shapes):
    found = {row["core"]: row for row in shapes["rows"]}
    assert found["host"]["distinct_sizes"] >= 10_000
    for core in ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"):
        assert found[core]["shapes"] >= 500
        assert found[core]["extreme"] > 30
    assert {row["mismatches"] for row in shapes["rows"]} == {0}


def test_every_committed_run_equals_the_reference_with_most_outputs_between_the_clamps(rows):
    assert {row["mismatches"] for row in rows} == {0}
    assert max(row["saturated_share"] for row in rows) < 0.5


def test_every_core_has_every_layer_with_four_bits(rows):
    for core in ("m3", "m4", "m7", "m33", "m55"):
        assert {row["layer"] for row in rows if (row["core"], row["bits"]) == (core, 4)} == set(PEER_LAYERS)
