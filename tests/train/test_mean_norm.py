"""The mean-only norm: identity at the start, blind to a channel's mean in training, merged exactly, settled at the end."""

from __future__ import annotations

import json

import pytest
import torch

from tests.train.small_networks import MODEL, small_network
from train.checkpoint import MODEL_FILE, ModelDescription, load_description, save_description
from train.config import NormConfig, QuantizeConfig
from train.model import RepVGG
from train.norms import BatchNorm
from train.qat import finish_qat, guide_quantizers, settle_means, start_qat

NORMS = ["oabn", "bn", "qarep", "mimic"]


def images(count: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def started(*, kind: str = "oabn", until: float = 0.5) -> RepVGG:
    network = small_network(norm=NormConfig(kind=kind), quantize=QuantizeConfig(mean_norm_until=until))
    start_qat(network, images())
    return network


@torch.no_grad()
def disturb(network: RepVGG, *, seed: int = 0) -> None:
    """Running means apart from those at the start."""
    generator = torch.Generator().manual_seed(seed)
    for block in network.blocks:
        block.mean_norm.running_mean.add_(0.2 * torch.randn(len(block.mean_norm.running_mean), generator=generator))


@pytest.mark.parametrize("kind", NORMS)
def test_at_the_start_it_changes_nothing(kind):
    x = images(8, seed=1) / 255
    with torch.no_grad():
        assert torch.equal(started(kind=kind)(x), started(kind=kind, until=0.0)(x))


def test_without_it_a_block_has_no_such_tensors():
    assert not [name for name in started(until=0.0).state_dict() if "mean_norm" in name]


def block_outputs(block, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The block before its activation quantizer."""
    seen = []
    hook = block.activation_quantizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block.quantized(x, weight, block.merged_kernel()[1])
    hook.remove()
    return seen[0]


def test_in_training_a_channels_mean_is_its_start_and_its_bias_whatever_the_weights_are():
    network = started()
    block = network.blocks[1]
    x = torch.rand(16, 6, 8, 8, generator=torch.Generator().manual_seed(3))
    weight, bias = block.merged_kernel()
    block.train()
    means = [
        block_outputs(block, x, changed).mean(dim=(0, 2, 3)) for changed in (weight, weight + 0.3, weight.sign() * 0.1)
    ]
    for mean in means:
        assert torch.allclose(mean, block.mean_norm.start_mean + bias, atol=1e-5)


def test_what_moves_only_a_channels_mean_has_no_gradient():
    block = started().blocks[1].train()
    weight = block.merged_kernel()[0].detach().requires_grad_()
    x = torch.rand(4, 6, 8, 8, generator=torch.Generator().manual_seed(3))
    block_outputs(block, x, weight).mean(dim=(0, 2, 3)).square().sum().backward()
    assert float(weight.grad.abs().max()) < 1e-5
    weight.grad = None
    block_outputs(block, x, weight).square().mean(dim=(0, 2, 3)).sum().backward()
    assert float(weight.grad.abs().max()) > 1e-2


def test_the_running_mean_follows_as_batch_norms_does():
    network = started()
    block = network.blocks[1].train()
    x = torch.rand(16, 6, 8, 8, generator=torch.Generator().manual_seed(3))
    weight, bias = block.merged_kernel()
    reference = BatchNorm(6).train()
    reference.running_mean.copy_(block.mean_norm.running_mean)
    reference(block.convolve(x, weight, None))
    block.quantized(x, weight, bias)
    assert torch.allclose(block.mean_norm.running_mean, reference.running_mean, atol=1e-6)


def test_settled_means_are_those_of_the_quantized_net():
    network = started()
    disturb(network)
    x = images(64, seed=2) / 255
    with torch.no_grad():
        settle_means(network, network, x)
        for block in network.blocks:
            outputs = block.convolve(x, block.quantized_kernel()[0], None)
            assert torch.allclose(block.mean_norm.running_mean, outputs.mean(dim=(0, 2, 3)), atol=1e-6)
            x = block(x)


def test_training_and_evaluation_agree_on_the_batch_that_the_means_settled_on():
    network = started()
    disturb(network)
    x = images(64, seed=2) / 255
    finish_qat(network, images())
    with torch.no_grad():
        settle_means(network, network, x)
    block = network.blocks[0]
    weight, _ = block.quantized_kernel()
    evaluated = block_outputs(block, x, weight)
    trained = block_outputs(block.train(), x, weight)
    assert torch.allclose(evaluated, trained, atol=1e-5)


def test_the_means_are_fixed_from_the_recipes_share_on_and_the_average_takes_them():
    live, average = started(), started()
    disturb(live)
    config = live.quantize.weights
    fixed = []
    for step in range(8):
        guide_quantizers(live, step, steps_per_epoch=4, epochs=2, config=config)
        fixed.append(all(block.mean_norm.fixed for block in live.blocks))
    assert fixed == [False] * 4 + [True] * 4
    before = [block.mean_norm.running_mean.clone() for block in live.blocks]
    with torch.no_grad():
        live.train()(images(8) / 255)
    settle_means(average, live, images(8) / 255)
    for block, trained, mean in zip(average.blocks, live.blocks, before, strict=True):
        assert torch.equal(trained.mean_norm.running_mean, mean)
        assert torch.equal(block.mean_norm.running_mean, mean)


def test_a_description_from_before_it_existed_has_none(tmp_path):
    save_description(tmp_path, ModelDescription(class_names=tuple("abcde"), input_hwc=(8, 8, 3), model=MODEL))
    stored = json.loads((tmp_path / MODEL_FILE).read_text())
    assert stored["quantize"]["mean_norm_until"] == 0.5
    del stored["quantize"]["mean_norm_until"]
    (tmp_path / MODEL_FILE).write_text(json.dumps(stored))
    assert load_description(tmp_path).quantize.mean_norm_until == 0
