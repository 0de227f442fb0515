from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.board_rules import EXTENSIONS, extensions_problem, memory_problem
from deploy.machines import MACHINES


@dataclass(frozen=True)
class Range:
    origin: int
    size_bytes: int


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=4))
def test_regions_are_refused_exactly_where_two_share_a_byte(pairs):
    memories = {f"r{number}": Range(8 * origin, 8 * size) for number, (origin, size) in enumerate(pairs)}
    bytes_of = [set(range(m.origin, m.origin + m.size_bytes)) for m in memories.values()]
    share = sum(map(len, bytes_of)) > len(set().union(*bytes_of))
    assert (memory_problem(memories) is not None) == share


def test_the_last_byte_of_the_address_space_is_allowed():
    assert memory_problem({"ram": Range((1 << 32) - 64, 64)}) is None


@pytest.mark.parametrize("core", MACHINES)
def test_every_core_may_have_all_its_extensions(core):
    assert extensions_problem(core, EXTENSIONS[core]) is None
