from __future__ import annotations

import pytest

from repedge.fit.build_table import KernelPlan, build_table
from repedge.fit.gates import GateImages, allocate_by_gates
from repedge.fit.table import Limits, cost_of


@pytest.fixture(scope="module")
def allocate(small_net, small_layers):
    table = build_table(small_layers, {}, KernelPlan())
    images, labels = small_net.split(validation=False)

    def by_gates(limits, steps=40):
        return allocate_by_gates(
            small_net.merged, small_layers, table, limits, GateImages(images, labels, steps, seed=0)
        )

    return by_gates


def smallest(small_layers) -> int:
    return small_layers.uniform(2).weight_bytes


@pytest.mark.parametrize("above", [0, 100, 400, 10_000])
@pytest.mark.parametrize("steps", [3, 40])
def test_the_bound_holds_in_the_end_however_few_the_steps(allocate, small_layers, above, steps):
    limits = Limits(weight_bytes=smallest(small_layers) + above)
    assert limits.fits(allocate(limits, steps))


def test_a_bound_below_the_smallest_has_no_choice(allocate, small_layers):
    assert allocate(Limits(weight_bytes=smallest(small_layers) - 1)) is None


def test_a_bound_in_bit_operations_is_met_as_well(allocate, small_layers):
    table = build_table(small_layers, {}, KernelPlan())
    middle = cost_of(tuple(layer.at(4) for layer in table)).bit_operations
    found = allocate(Limits(bit_operations=middle))
    assert cost_of(found).bit_operations <= middle


def test_equal_seeds_give_equal_bits(allocate, small_layers):
    limits = Limits(weight_bytes=smallest(small_layers) + 300)
    assert allocate(limits) == allocate(limits)


def test_the_gates_leave_the_net_as_it_was(allocate, small_net, small_layers):
    before = small_net.merged.convs[0].weight_oihw.copy()
    allocate(Limits(weight_bytes=smallest(small_layers)))
    assert (small_net.merged.convs[0].weight_oihw == before).all()
