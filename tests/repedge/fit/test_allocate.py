from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from repedge.fit.allocate import greedy, greedy_path, uniform, uniform_bits
from repedge.fit.solver import solve
from repedge.fit.table import LayerOptions, Limits, Option, cost_of, loss_of
from train.config import QuantizeConfig

WIDTHS = range(8, 1, -1)


@st.composite
def tables(draw):
    """Layers whose bytes fall with the bits, with any losses."""
    layers = []
    for name in "abcd"[: draw(st.integers(2, 4))]:
        size = draw(st.integers(8, 200))
        losses = draw(st.lists(st.integers(0, 50), min_size=7, max_size=7))
        options = (Option(b, float(loss), size * b // 8) for b, loss in zip(WIDTHS, losses, strict=True))
        layers.append(LayerOptions(name, tuple(options)))
    return layers


def smallest(table) -> int:
    return sum(layer.options[-1].weight_bytes for layer in table)


@settings(max_examples=60, deadline=None)
@given(table=tables(), above=st.integers(0, 400))
def test_greedy_fits_where_anything_does_and_never_beats_the_optimum(table, above):
    limits = Limits(weight_bytes=smallest(table) + above)
    found = greedy(table, limits)
    assert limits.fits(found)
    assert loss_of(found) >= loss_of(solve(table, limits))


@settings(max_examples=30, deadline=None)
@given(table=tables())
def test_one_byte_below_the_smallest_nothing_fits(table):
    limits = Limits(weight_bytes=smallest(table) - 1)
    assert greedy(table, limits) is None
    assert solve(table, limits) is None
    assert uniform(table, limits, QuantizeConfig()) is None


@settings(max_examples=20, deadline=None)
@given(table=tables())
def test_greedys_path_goes_down_to_the_smallest(table):
    sizes = [cost_of(allocation).weight_bytes for allocation in greedy_path(table)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == smallest(table)


def test_uniform_keeps_the_recipes_ends_while_it_can():
    table = [LayerOptions(name, tuple(Option(b, 0.0, 10 * b) for b in WIDTHS)) for name in ("first", "inner", "last")]
    found = uniform(table, Limits(weight_bytes=195), QuantizeConfig())
    assert [option.bit_width for option in found] == [8, 3, 8]
    found = uniform(table, Limits(weight_bytes=100), QuantizeConfig())
    assert [option.bit_width for option in found] == [3, 3, 3]
    assert uniform_bits(("first", "inner", "last"), QuantizeConfig(), 5) == {"first": 8, "inner": 5, "last": 8}


def test_greedy_passes_over_widths_that_take_no_fewer_bytes():
    sizes = {8: 36, 7: 36, 6: 36, 5: 36, 4: 36, 3: 24, 2: 16}
    table = [LayerOptions("small", tuple(Option(b, 8.0 - b, size) for b, size in sizes.items()))]
    (found,) = greedy(table, Limits(weight_bytes=24))
    assert found.bit_width == 3
