"""Holding weights that swing between two entries."""

from __future__ import annotations

import math

import pytest
import torch

from train.config import WeightQuantizerConfig
from train.oscillation import HOLD_FROM, MOMENTUM, OscillationHold, annealed_threshold
from train.quantizers import make_weight_quantizer

SWINGING, STEADY, WANDERING = 0, 1, 2


def indices_at(step: int) -> torch.Tensor:
    """One weight swings between 3 and 4 and is at 4 three times as often, one stays, one climbs one entry in 40 steps."""
    return torch.tensor([3 if step % 4 == 0 else 4, 7, 1 + step // 40], dtype=torch.uint8)


def followed(threshold: float, steps: int) -> tuple[OscillationHold, torch.Tensor]:
    hold = OscillationHold((3,))
    previous = indices_at(0)
    hold.start(previous)
    for step in range(1, steps):
        hold.threshold = threshold if step > steps / 2 else math.inf  # its average place has to settle first
        previous = hold.follow(indices_at(step), previous)
    return hold, previous


def test_a_weight_that_swings_is_held_where_it_is_more_often_and_others_are_not():
    hold, indices = followed(0.2, 1000)
    assert hold.held.tolist() == [True, False, False]
    assert indices.tolist() == [4, 7, 1 + 999 // 40]


def test_the_rate_is_the_moving_average_of_turns_per_step():
    hold, _ = followed(math.inf, 1000)
    assert not hold.held.any()
    assert float(hold.turn_rate[SWINGING]) == pytest.approx(0.5, abs=2 * MOMENTUM)  # 3 4 4 4 3: two turns in four steps
    assert float(hold.turn_rate[STEADY]) == float(hold.turn_rate[WANDERING]) == 0.0
    assert float(hold.position[SWINGING]) == pytest.approx(3.75, abs=2 * MOMENTUM)


def test_the_threshold_is_none_at_first_then_falls_to_its_last_value():
    assert annealed_threshold(0.01, HOLD_FROM / 2, until=0.85) == math.inf
    assert annealed_threshold(0.01, HOLD_FROM, until=0.85) == pytest.approx(0.04)
    assert annealed_threshold(0.01, 0.475, until=0.85) == pytest.approx(0.025)
    assert (
        annealed_threshold(0.01, 0.85, until=0.85) == annealed_threshold(0.01, 1.0, until=0.85) == pytest.approx(0.01)
    )
    assert annealed_threshold(0.01, 0.5, until=0.05) == pytest.approx(0.01)  # frozen before anything is held


@pytest.mark.parametrize("method", ["cluster", "lsq", "lsq_plus", "uniq"])
def test_a_held_weight_keeps_its_entry_and_gets_no_gradient_in_training_and_evaluation(method):
    quantizer = make_weight_quantizer((4, 2, 3, 3), 4, WeightQuantizerConfig(method=method))
    torch.manual_seed(0)
    weight = torch.randn(4, 2, 3, 3)
    quantizer.initialise(weight)
    quantizer.oscillation.held[0, 0, 0, 0] = True
    before = quantizer.indices.clone()
    moved = (-weight).clamp(-1, 1).requires_grad_()  # inside the range of every method
    for training in (True, False):
        quantizer.train(training)
        quantizer(moved).sum().backward()
        changed = (quantizer.indices != before).flatten()
        assert not changed[0] and changed[1:].float().mean() > 0.8
        assert float(moved.grad[0, 0, 0, 0]) == 0.0
        assert (moved.grad.flatten()[1:] != 0).float().mean() > 0.8


def test_the_step_of_a_held_weight_learns_from_its_level_alone():
    quantizer = make_weight_quantizer((1, 1, 1, 2), 4, WeightQuantizerConfig(method="lsq"))
    weight = torch.tensor([[[[0.9, -0.2]]]])
    quantizer.initialise(weight)
    quantizer.oscillation.held[...] = True
    quantizer(weight + 0.3).sum().backward()
    level = quantizer.indices.float() + quantizer.lowest
    assert float(quantizer.step.grad) == pytest.approx(float(level.sum()) / math.sqrt(2 * quantizer.highest), rel=1e-5)


@pytest.mark.parametrize(("method", "threshold"), [("dkm", 0.01), ("heq", 0.01), ("apot", 0.01), ("cluster", None)])
def test_nothing_is_held_without_a_threshold_or_where_all_levels_move(method, threshold):
    config = WeightQuantizerConfig(method=method, oscillation_threshold=threshold)
    assert make_weight_quantizer((4, 2, 3, 3), 4, config).held is None


def test_an_8_bit_net_holds_nothing_and_the_8_bit_ends_of_a_narrower_one_do():
    for inner, holds in ((8, False), (7, True), (2, True)):
        quantizer = make_weight_quantizer((4, 2, 3, 3), 8, WeightQuantizerConfig(bit_width=inner))
        assert (quantizer.held is not None) == holds


def test_an_8_bit_recipe_holds_where_a_layer_of_it_is_narrower():
    config = WeightQuantizerConfig(bit_width=8, layers={"stage2.0": 2})
    assert make_weight_quantizer((4, 2, 3, 3), 2, config).held is not None
