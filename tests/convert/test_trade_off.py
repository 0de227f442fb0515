"""The trade-off curve holds choices that no other one beats, and the three preferences lie on or above it."""

from __future__ import annotations

import pytest

from convert.kernel_code import PARTS
from convert.kernels import KERNELS, choose_kernels, smallest_arena
from convert.memory_plan import plan_memory
from convert.trade_off import POINTS_MAX, plan_figures, trade_off_points
from tests.random_models import random_model

MODEL = random_model(5, input_hwc=(16, 16, 3), widths=(8, 16, 16), strides=(1, 2, 1), bit_widths=(4, 4, 3))
CORES = (None, "cortex-m3", "cortex-m4", "cortex-m55")


def _beats(one, other):
    """Whether a point is at least as good in everything and better in something."""
    figures = [(p.arena_bytes, p.instructions, p.flash_bytes) for p in (one, other)]
    return figures[0] != figures[1] and all(a <= b for a, b in zip(*figures, strict=True))


@pytest.mark.parametrize("core", CORES)
def test_no_point_beats_another(core):
    points = trade_off_points(MODEL, core)
    assert 1 <= len(points) <= POINTS_MAX
    assert not [(a, b) for a in points for b in points if _beats(a, b)]


@pytest.mark.parametrize("core", CORES)
def test_curve_begins_at_the_smallest_arena_and_reaches_the_fewest_instructions(core):
    points = trade_off_points(MODEL, core)
    assert points[0].arena_bytes == smallest_arena(MODEL, core)
    speed = plan_figures(MODEL, choose_kernels(MODEL, core), core)
    assert min(point.instructions for point in points) <= 1.02 * speed.instructions


@pytest.mark.parametrize("prefer", ["speed", "ram", "flash"])
def test_figures_of_a_plan_have_its_exact_arena(prefer):
    choices = choose_kernels(MODEL, "cortex-m4", prefer=prefer)
    assert plan_figures(MODEL, choices, "cortex-m4").arena_bytes == plan_memory(MODEL, choices).arena_bytes


def test_preferring_flash_has_the_least_and_ram_the_smallest_arena():
    figures = {
        prefer: plan_figures(MODEL, choose_kernels(MODEL, "cortex-m4", prefer=prefer), "cortex-m4")
        for prefer in ("speed", "ram", "flash")
    }
    assert figures["flash"].flash_bytes == min(point.flash_bytes for point in figures.values())
    assert figures["ram"].arena_bytes == min(point.arena_bytes for point in figures.values())
    assert figures["speed"].instructions == min(point.instructions for point in figures.values())


def test_code_of_every_kernel_is_known():
    assert {kernel.function for kernel in KERNELS} == set(PARTS)
