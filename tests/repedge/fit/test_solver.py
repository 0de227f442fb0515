"""The solver against brute force: the optimum itself, never a neighbour of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repedge.fit.solver import pareto_front, solve
from repedge.fit.table import ADDITIVE, LayerOptions, Limits, Option, cost_of, loss_of

# whole losses: sums are exact, so that optima compare by equality
options = st.builds(
    Option,
    bit_width=st.integers(2, 8),
    loss=st.integers(0, 30).map(float),
    weight_bytes=st.integers(1, 20),
    flash_bytes=st.integers(1, 20),
    bit_operations=st.integers(1, 20),
    instructions=st.integers(1, 20),
    arena_bytes=st.integers(1, 9),
)
tables = st.lists(
    st.builds(LayerOptions, st.just("layer"), st.lists(options, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=5,
)


def every_allocation(table):
    return list(itertools.product(*(layer.options for layer in table)))


def draw_limits(data, table, names) -> Limits:
    """Limits around what some allocation costs, so that about half of the problems are tight."""
    some = cost_of(data.draw(st.sampled_from(every_allocation(table))))
    return Limits(**{name: max(0, getattr(some, name) + data.draw(st.integers(-3, 3))) for name in names})


@settings(max_examples=150, deadline=None)
@given(table=tables, data=st.data())
def test_the_optimum_is_that_of_brute_force(table, data):
    names = data.draw(st.sets(st.sampled_from([*ADDITIVE, "arena_bytes"]), min_size=0))
    limits = draw_limits(data, table, sorted(names))
    allowed = [allocation for allocation in every_allocation(table) if limits.fits(allocation)]
    found = solve(table, limits)
    if not allowed:
        assert found is None
    else:
        assert found is not None
        assert limits.fits(found)
        assert loss_of(found) == min(map(loss_of, allowed))


@settings(max_examples=50, deadline=None)
@given(table=tables, data=st.data())
def test_any_cost_can_be_minimised_under_the_others(table, data):
    limits = draw_limits(data, table, ["instructions"])
    allowed = [allocation for allocation in every_allocation(table) if limits.fits(allocation)]
    found = solve(table, limits, minimise="weight_bytes")
    smallest = min((cost_of(allocation).weight_bytes for allocation in allowed), default=None)
    assert (None if found is None else cost_of(found).weight_bytes) == smallest


@settings(max_examples=50, deadline=None)
@given(table=tables)
def test_the_front_holds_the_optimum_of_every_limit(table):
    front = [(cost_of(allocation).weight_bytes, loss_of(allocation)) for allocation in pareto_front(table)]
    every = [(cost_of(allocation).weight_bytes, loss_of(allocation)) for allocation in every_allocation(table)]
    assert front == sorted(front)
    for limit, _ in every:
        assert min(loss for size, loss in front if size <= limit) == min(loss for size, loss in every if size <= limit)


def test_one_byte_less_than_the_least_is_infeasible_and_the_least_is_met():
    table = [LayerOptions(name, (Option(8, 0.0, 80), Option(2, 1.0, 20))) for name in "abc"]
    assert solve(table, Limits(weight_bytes=59)) is None
    assert [option.bit_width for option in solve(table, Limits(weight_bytes=60))] == [2, 2, 2]


def test_greedy_would_miss_this_optimum():
    # the best ratio first takes the small layer down and then has to take the large one down as well
    table = [
        LayerOptions("small", (Option(8, 0.0, 10), Option(2, 1.0, 2))),
        LayerOptions("large", (Option(8, 0.0, 100), Option(2, 20.0, 60))),
    ]
    assert [option.bit_width for option in solve(table, Limits(weight_bytes=70))] == [8, 2]


@pytest.mark.parametrize("names", [("weight_bytes",), ("weight_bytes", "instructions")])
def test_twenty_five_layers_are_solved_exactly_in_a_moment(names):
    rng = np.random.default_rng(5)
    table = []
    for layer in range(25):
        size = int(rng.integers(300, 9000))
        losses = rng.random() * 4.0 ** -np.arange(2, 9)
        table.append(
            LayerOptions(
                str(layer),
                tuple(
                    Option(b, float(losses[b - 2]), size * b // 8, 0, size * (20 if b > 4 else 11) + 37 * b)
                    for b in range(8, 1, -1)
                ),
            )
        )
    middle = cost_of(tuple(layer.at(4) for layer in table))
    limits = Limits(**{name: int(1.1 * getattr(middle, name)) for name in names})
    found = solve(table, limits)
    assert limits.fits(found)
    assert loss_of(found) <= loss_of(tuple(layer.at(4) for layer in table))
