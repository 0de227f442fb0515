"""Guiding quantizers through a QAT phase, and the optimizers' groups."""

from __future__ import annotations

import pytest
import torch

from tests.train.small_networks import small_network
from train.config import QatPhaseConfig, QuantizeConfig, WeightQuantizerConfig
from train.optimizer import make_optimizer
from train.qat import guide_quantizers, start_qat


def started(method: str = "cluster"):
    network = small_network(quantize=QuantizeConfig(weights=WeightQuantizerConfig(method=method)))
    start_qat(network, torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8))
    return network


@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_indices_freeze_at_the_same_share_of_short_and_long_phases(epochs):
    network, steps = started(), 20
    frozen = []
    for step in range(epochs * steps):
        guide_quantizers(network, step, steps_per_epoch=steps, epochs=epochs, config=network.quantize.weights)
        frozen.append(all(bool(block.weight_quantizer.frozen) for block in network.blocks))
    assert sum(frozen) == round(0.15 * epochs * steps)
    assert frozen == sorted(frozen)


def test_codebooks_are_refreshed_once_per_early_epoch_from_the_second_on(monkeypatch):
    network, steps, refreshed = started(), 5, []
    quantizer = network.blocks[0].weight_quantizer
    monkeypatch.setattr(quantizer, "refresh", lambda weight: refreshed.append(step))
    for step in range(6 * steps):
        guide_quantizers(network, step, steps_per_epoch=steps, epochs=6, config=network.quantize.weights)
    assert refreshed == [5, 10]


def test_adamw_moves_a_uniform_step_by_a_share_of_itself_and_sgd_by_its_gradient():
    network = started("lsq")
    steps = [layer.weight_quantizer.step for layer in (*network.blocks, network.classifier)]
    adamw = make_optimizer(network, QatPhaseConfig(epochs=1), codebook_factor=1.0)
    factors = {id(group["params"][0]): group["factor"] for group in adamw.param_groups if len(group["params"]) == 1}
    assert [factors[id(step)] for step in steps] == [pytest.approx(float(step.detach())) for step in steps]
    sgd = make_optimizer(network, QatPhaseConfig(epochs=1, optimizer="sgd"), codebook_factor=1.0)
    assert {group["factor"] for group in sgd.param_groups} == {1.0}
    for optimizer in (adamw, sgd):
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert {id(parameter) for parameter in held} == {id(parameter) for parameter in network.parameters()}
        assert len(held) == len(set(map(id, held)))
