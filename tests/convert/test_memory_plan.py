"""The memory plan keeps apart what is alive at the same time, in the smallest arena that allows it."""

from __future__ import annotations

import pytest

from convert.memory_plan import ALIGNMENT, plan_memory
from tests.random_models import random_model

MODELS = [
    random_model(1),
    random_model(2, input_hwc=(9, 7, 3), widths=(5, 8, 6), strides=(2, 1, 2), bit_widths=(8, 4, 3)),
    random_model(3, input_hwc=(1, 1, 1), widths=(1,), strides=(1,), bit_widths=(2,), classes=2),
]


def _ranges(placement):
    yield placement.input_offset, placement.input_bytes
    if placement.shape.kind != "fully_connected":
        yield placement.output_offset, placement.output_bytes
    if placement.scratch_bytes:
        yield placement.scratch_offset, placement.scratch_bytes


@pytest.mark.parametrize("model", MODELS)
def test_tensors_of_a_layer_do_not_touch_and_fit_the_arena(model):
    plan = plan_memory(model)
    for placement in plan.placements:
        ranges = sorted(_ranges(placement))
        ends = [offset + size for offset, size in ranges]
        assert all(offset % ALIGNMENT == 0 for offset, _ in ranges)
        assert all(end <= start for end, (start, _) in zip(ends, ranges[1:], strict=False))
        assert ends[-1] <= plan.arena_bytes


@pytest.mark.parametrize("model", MODELS)
def test_each_layer_reads_where_the_one_before_wrote(model):
    placements = plan_memory(model).placements
    assert [p.input_offset for p in placements[1:]] == [p.output_offset for p in placements[:-1]]


@pytest.mark.parametrize("model", MODELS)
def test_arena_is_what_the_neediest_layer_needs(model):
    plan = plan_memory(model)
    assert plan.arena_bytes == max(placement.arena_bytes for placement in plan.placements)
