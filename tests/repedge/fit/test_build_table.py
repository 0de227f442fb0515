from __future__ import annotations

import numpy as np

from repedge.fit.build_table import KernelPlan, build_table, encoded_bytes, sizes_by_shape
from repedge.fit.table import cost_of


def test_bytes_of_a_mixture_are_those_of_its_encoded_model(small_layers):
    table = build_table(small_layers, {}, KernelPlan())
    rng = np.random.default_rng(3)
    for _ in range(20):
        bits = {layer.name: int(rng.integers(2, 9)) for layer in table}
        allocation = tuple(layer.at(bits[layer.name]) for layer in table)
        model = small_layers.model(bits)
        assert cost_of(allocation).weight_bytes == model.weight_bytes
        assert model.weight_bytes == sum(encoded_bytes(layer) for layer in model.layers)


def test_shapes_alone_tell_the_encoded_bytes(small_net, small_layers):
    for bits in range(2, 9):
        model = small_layers.uniform(bits)
        expected = {layer.name: encoded_bytes(layer) for layer in model.layers}
        assert sizes_by_shape(small_net.merged, dict.fromkeys(small_layers.names, bits)) == expected


def test_an_arena_that_no_kernel_fits_leaves_no_option(small_layers):
    plan = KernelPlan("cortex-m4", "speed", arena_wanted=64, arena_limit=64)
    assert any(not layer.options for layer in build_table(small_layers, {}, plan))


def test_options_keep_to_the_wanted_arena_where_they_can(small_layers):
    free = build_table(small_layers, {}, KernelPlan("cortex-m4", "speed"))
    largest = max(option.arena_bytes for layer in free for option in layer.options)
    tight = build_table(small_layers, {}, KernelPlan("cortex-m4", "speed", arena_wanted=largest - 1))
    assert max(option.arena_bytes for layer in tight for option in layer.options) < largest
