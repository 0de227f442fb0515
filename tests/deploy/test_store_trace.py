from __future__ import annotations

from dataclasses import replace

import pytest

from convert.memory_plan import plan_memory
from deploy.profile import BucketCount, Profile
from deploy.store_trace import check_stores, output, scratch
from tests.random_models import random_model
from train.errors import Mismatch

ARENA = 0x20000800
PLAN = plan_memory(random_model(1))


def _profile(changed=None, stored=None):
    """A run in which every layer stores to all its own bytes, but for layer `changed`."""
    buckets = {}
    for layer, placement in enumerate(PLAN.placements):
        own = sorted([*output(placement), *scratch(placement)])
        ranges = stored if layer == changed else own
        buckets[layer] = BucketCount(0, stored=tuple((low + ARENA, high + ARENA) for low, high in ranges))
    return Profile((), buckets, 0, None)


def test_layers_that_keep_to_their_own_bytes_pass():
    check_stores(_profile(), ARENA, PLAN)


@pytest.mark.parametrize("extra", [(PLAN.arena_bytes, PLAN.arena_bytes + 1), (-1, 0)], ids=["past", "before"])
def test_a_store_outside_of_the_arena_is_refused(extra):
    own = sorted([*output(PLAN.placements[2]), *scratch(PLAN.placements[2]), extra])
    with pytest.raises(Mismatch, match=r"layer conv2: stores to bytes -?\d+ to \d+"):
        check_stores(_profile(2, own), ARENA, PLAN)


def test_a_store_to_the_own_input_is_refused():
    placement = PLAN.placements[1]
    own = [*output(placement), *scratch(placement), (placement.input_offset, placement.input_offset + 1)]
    with pytest.raises(Mismatch, match="layer conv1: stores to bytes"):
        check_stores(_profile(1, sorted(own)), ARENA, PLAN)


def test_an_output_that_is_not_written_whole_is_refused():
    low, high = output(PLAN.placements[0])[0]
    with pytest.raises(Mismatch, match=f"layer conv0: never stores to bytes {high - 1} to {high}"):
        check_stores(_profile(0, sorted([(low, high - 1), *scratch(PLAN.placements[0])])), ARENA, PLAN)


def test_an_arena_that_is_larger_than_what_is_used_is_refused():
    last = max(range(len(PLAN.placements)), key=lambda k: scratch(PLAN.placements[k])[-1:] or [(0, 0)])
    moved = replace(PLAN.placements[last], scratch_offset=PLAN.arena_bytes + 64)
    plan = replace(PLAN, placements=(*PLAN.placements[:last], moved, *PLAN.placements[last + 1 :]))
    with pytest.raises(Mismatch, match="both ends must be needed"):
        check_stores(_profile(last, output(PLAN.placements[last])), ARENA, plan)
