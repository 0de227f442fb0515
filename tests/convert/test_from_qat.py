"""A QAT checkpoint becomes the integer model: nothing is re-clustered, re-assigned or re-scaled on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convert import reference
from convert.from_qat import lower_qat
from convert.merge import merge_network, prove_block
from tests.random_models import random_images
from train.config import ActivationQuantizerConfig, ModelConfig, NormConfig, QuantizeConfig, WeightQuantizerConfig
from train.errors import Mismatch, UnsupportedLayer
from train.model import RepVGG
from train.quantizers import make_activation_quantizer, make_weight_quantizer

CLASSES = tuple("0123456789")
HWC = (8, 8, 1)


def random_statistics(network: RepVGG, seed: int = 0) -> None:
    """Batch norms as after training, with some variances below 1e-6."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.affine:
            count = module.num_features
            module.running_mean.copy_(torch.randn(count, generator=generator) * 0.2)
            module.running_var.copy_(torch.rand(count, generator=generator) + 0.3)
            module.running_var[:1] = 1e-8
            module.weight.data.copy_(1 + 0.3 * torch.randn(count, generator=generator))
            module.bias.data.copy_(0.2 * torch.randn(count, generator=generator))


def qat_network(
    method: str,
    *,
    activation_bits: int = 8,
    per_channel: bool = False,
    norm: NormConfig | None = None,
    mean_offset: float = 0.0,
) -> RepVGG:
    """A calibrated net; `mean_offset` is about how far the mean-only norms' means are from where they began."""
    torch.manual_seed(0)
    quantize = QuantizeConfig.model_validate(
        {
            "weights": {"method": method, "bit_width": 4, "per_channel_scale": per_channel},
            "activations": {"bit_width": activation_bits},
        }
    )
    model = ModelConfig(widths=(8, 12), depths=(2, 2), strides=(1, 2))
    network = RepVGG(model, norm or NormConfig(), quantize, input_channels=1, classes=10)
    random_statistics(network)
    network.attach_quantizers()
    with torch.no_grad():
        x = torch.from_numpy(random_images(np.random.default_rng(0), 64, HWC)).permute(0, 3, 1, 2) / 255
        network.eval()
        for block in network.blocks:
            block.mean_norm.initialise(block.convolve(x, block.merged_kernel()[0], None))
            block.mean_norm.running_mean.add_(mean_offset * torch.randn(block.conv3x3.out_channels))
            weight, bias = block.merged_kernel()
            block.weight_quantizer.initialise(weight)
            block.activation_quantizer.initialise(block.convolve(x, weight, bias))
            x = block(x)
        network.classifier.weight_quantizer.initialise(network.classifier.merged()[0])
        logits = network.classifier(x.mean(dim=(2, 3)))
        network.logits_scale.fill_(float(logits.abs().max()) * 2 / 250)
    return network


METHODS = ["cluster", "dkm", "lsq", "lsq_plus", "uniq", "heq", "apot"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_exported_weights_are_those_of_the_last_qat_forward(monkeypatch, method, per_channel):
    network = qat_network(method, per_channel=per_channel)
    used = []
    plain = torch.nn.functional.conv2d

    def recording(x, weight, *args, **kwargs):
        used.append(weight.detach().clone())
        return plain(x, weight, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "conv2d", recording)
    with torch.no_grad():
        network(torch.rand(4, 1, 8, 8))
    monkeypatch.undo()
    model = lower_qat(network, merge_network(network, HWC), CLASSES)
    assert len(used) == len(model.convs)
    for conv, weight in zip(model.convs, used, strict=True):
        exported = conv.weight_ohwi.astype(np.float32) * conv.weight_scale.reshape(-1, 1, 1, 1)
        assert np.array_equal(exported.transpose(0, 3, 1, 2), weight.numpy())


@pytest.mark.parametrize(("method", "activation_bits"), [("cluster", 8), ("cluster", 4), ("lsq", 8)])
def test_the_integer_model_follows_the_fake_quantized_net(method, activation_bits):
    network = qat_network(method, activation_bits=activation_bits)
    model = lower_qat(network, merge_network(network, HWC), CLASSES)
    images = random_images(np.random.default_rng(9), 200, HWC)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    outputs = dict(reference.trace(model, images))
    with torch.no_grad():
        expected = network(x).argmax(dim=1).numpy()
        for block in network.blocks:
            x = block(x)
            levels = (x / block.activation_quantizer.current_scale()).round().int().permute(0, 2, 3, 1).numpy() - 128
            difference = np.abs(levels - outputs[block.name])
            # float sums differ in their last bits, so a value near a tie may round to the neighbouring level
            assert (difference == 0).mean() > 0.99
            assert difference.max() <= 2
    assert (expected == outputs["classifier"].argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_each_integer_layer_follows_its_fake_quantized_block_on_the_same_input(method):
    network = qat_network(method, mean_offset=0.1)
    model = lower_qat(network, merge_network(network, HWC), CLASSES)
    images = random_images(np.random.default_rng(9), 50, HWC)
    outputs = dict(reference.trace(model, images))
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        for block, conv in zip(network.blocks, model.convs, strict=True):
            scale = block.activation_quantizer.current_scale()
            found = outputs[block.name].astype(np.int64) + 128
            difference = np.abs((block(x) / scale).round().int().permute(0, 2, 3, 1).numpy() - found)
            # the integer bias is rounded by at most half an accumulator step, so only values within half the
            # multiplier of a tie may differ, by one level (half of the multiplier if values spread evenly; twice that is
            # allowed as they repeat); float sums and multipliers add a little
            multiplier = conv.input.scale * conv.weight_scale.max() / conv.output.scale
            assert difference.max() <= 1
            assert (difference != 0).mean() < multiplier + 0.005
            x = torch.from_numpy(found).permute(0, 3, 1, 2) * scale


def test_merge_equals_branches_with_tiny_variances():
    network = qat_network("cluster", mean_offset=0.1).double()
    with torch.no_grad():
        for block in network.blocks:
            assert prove_block(block, *block.merged_kernel()) < 1e-12


def test_a_wrong_merge_is_caught():
    block = qat_network("cluster").double().blocks[1]
    weight, bias = (tensor.detach().clone() for tensor in block.merged_kernel())
    weight[0, 0, 1, 1] += 1e-3
    with torch.no_grad(), pytest.raises(Mismatch, match=r"layer stage1\.1: merged kernel differs"):
        prove_block(block, weight, bias)


def test_branch_sum_is_the_block_before_relu():
    torch.manual_seed(1)
    network = RepVGG(
        ModelConfig(widths=(6,), depths=(2,), strides=(1,)), NormConfig(), QuantizeConfig(), input_channels=3, classes=2
    )
    network.eval()
    x = torch.rand(2, 3, 7, 7)
    with torch.no_grad():
        first = network.blocks[0]
        assert torch.equal(torch.relu(first.branch_sum(x)), first(x))


@pytest.mark.parametrize("kind", ["bn", "sigma_floor", "shared_sigma", "none", "qarep", "mimic"])
def test_every_norm_lowers_to_an_integer_model_that_follows_its_net(kind):
    network = qat_network("cluster", norm=NormConfig(kind=kind))
    model = lower_qat(network, merge_network(network, HWC), CLASSES)
    images = random_images(np.random.default_rng(9), 100, HWC)
    with torch.no_grad():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(dim=1).numpy()
    assert (expected == reference.run(model, images).argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("part", ["weights", "activations"])
def test_a_net_kept_in_float_is_refused(part):
    network = qat_network("cluster")
    if part == "weights":
        network.blocks[0].weight_quantizer = make_weight_quantizer(
            (8, 1, 3, 3), 8, WeightQuantizerConfig(method="none")
        )
    else:
        network.blocks[0].activation_quantizer = make_activation_quantizer(ActivationQuantizerConfig(method="none"))
    with pytest.raises(UnsupportedLayer, match="method none"):
        lower_qat(network, merge_network(network, HWC), CLASSES)
