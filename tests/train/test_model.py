"""RepVGG: exact merge, sizes, names, bit widths."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.train.small_networks import small_network
from train.config import ModelConfig, NormConfig, QuantizeConfig, WeightQuantizerConfig
from train.errors import ConfigError
from train.layout import SIZES, macs
from train.model import RepVGG, RepVGGBlock
from train.qat import start_qat

BRANCHES = ("identity", "1x1", "3x3")
NORMS = [
    NormConfig(kind="bn"),
    *(NormConfig(bound=bound, mode=mode) for bound in ("layer", "robust", "constant") for mode in ("tanh", "clip")),
    *(NormConfig(bound=bound, branches=BRANCHES) for bound in ("layer", "robust", "constant")),
    *(NormConfig(kind=kind) for kind in ("none", "qarep", "mimic")),
    *(NormConfig(kind=kind, branches=b) for kind in ("sigma_floor", "shared_sigma") for b in (BRANCHES, ("identity",))),
]


@pytest.mark.parametrize("norm", NORMS, ids=lambda n: f"{n.kind}-{n.bound}-{n.mode}-{len(n.branches)}")
def test_merged_block_equals_branches_in_float64(norm):
    network = small_network(norm=norm).double()
    for block in network.blocks:
        x = torch.rand(4, block.conv3x3.in_channels, 9, 9, dtype=torch.float64)
        merged = F.relu(block.convolve(x, *block.merged_kernel()))
        # each side sums at most 73 products and four offsets, scaled at most twice; one rounding is 2^-53 of the
        # largest partial sum
        bound = 2 * 80 * 2.0**-53 * _largest_partial_sum(block, x)
        torch.testing.assert_close(merged, block(x), rtol=0, atol=bound)


@torch.no_grad()
def _largest_partial_sum(block: RepVGGBlock, x: torch.Tensor) -> float:
    """An upper bound of |partial sums| on both sides: every product and every offset taken by magnitude."""
    norms = [norm for norm in (block.norm3x3, block.norm1x1, block.norm_identity) if norm is not None]
    total = sum(_offset(norm) for norm in norms)
    scale = max(float(norm.merged()[0].abs().max()) for norm in norms)
    taps = block.conv3x3.weight.abs().sum(dim=(1, 2, 3)).max() + block.conv1x1.weight.abs().sum(dim=(1, 2, 3)).max() + 1
    total += scale * float(taps) * float(x.max())
    if block.post_norm is None:
        return total
    return float(block.post_norm.merged()[0].abs().max()) * total + _offset(block.post_norm)


def _offset(norm: torch.nn.Module) -> float:
    scale, offset = norm.merged()
    mean = getattr(norm, "running_mean", torch.zeros_like(offset))
    return float(2 * (scale * mean).abs().max() + offset.abs().max())


def test_classifier_merges_mimic_norm_of_the_logits_in_float64():
    network = small_network(norm=NormConfig(kind="mimic")).double()
    network.classifier.logits_norm.running_mean.normal_()
    network.classifier.logits_norm.running_var.uniform_(0.2, 2.0)
    x = torch.rand(7, 8, dtype=torch.float64)
    torch.testing.assert_close(F.linear(x, *network.classifier.merged()), network.classifier(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("norm", NORMS, ids=lambda n: f"{n.kind}-{n.bound}-{n.mode}-{len(n.branches)}")
def test_a_training_step_moves_every_parameter_of_every_norm(norm):
    network = small_network(norm=norm).train()
    F.cross_entropy(network(torch.rand(8, 3, 12, 12)), torch.arange(8) % 5).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(("size", "expected"), [("xs", 2_876_032), ("s", 7_631_808), ("m", 13_419_776)])
def test_sizes_have_these_macs_on_32x32x3(size, expected):
    assert macs(ModelConfig(size=size), input_hwc=(32, 32, 3), classes=10) == expected


@pytest.mark.parametrize("size", sorted(SIZES))
def test_sizes_have_identity_blocks(size):
    network = RepVGG(ModelConfig(size=size), NormConfig(), QuantizeConfig(), input_channels=3, classes=10)
    assert [block.name for block in network.blocks if block.norm_identity is not None]


def test_blocks_are_named_by_stage_and_number():
    assert [block.name for block in small_network().blocks] == ["stage1.0", "stage1.1", "stage2.0", "stage2.1"]


def test_layer_override_with_unknown_name_lists_the_names():
    quantize = QuantizeConfig(weights=WeightQuantizerConfig(layers={"stage9.0": 3}))
    with pytest.raises(ConfigError, match=r"stage9\.0.*stage1\.0, stage1\.1, stage2\.0, stage2\.1, classifier"):
        small_network(quantize=quantize)


def test_first_last_and_named_layers_have_their_own_bit_width():
    weights = WeightQuantizerConfig(bit_width=3, first_bit_width=7, last_bit_width=6, layers={"stage2.0": 5})
    network = small_network(quantize=QuantizeConfig(weights=weights))
    assert list(network.bit_widths.values()) == [7, 3, 5, 3, 6]


def test_float_network_in_qat_phase_at_8_bits_stays_close_to_itself():
    network = small_network(quantize=QuantizeConfig(weights=WeightQuantizerConfig(bit_width=8)))
    images = torch.randint(0, 256, (32, 3, 12, 12), dtype=torch.uint8)
    expected = network(images / 255)
    start_qat(network, images)
    found = network.eval()(images / 255)
    # 8 bits leave about 1/256 of the range per layer; a wrong merge or scale would be off by its whole size
    assert (found - expected).abs().max() < 0.1 * (expected.max() - expected.min())


def test_pooled_value_is_rounded_as_the_stored_int8_half_away_from_zero():
    network = small_network()
    start_qat(network, torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8))
    network.blocks[-1].activation_quantizer.scale.data.fill_(0.5)
    levels = torch.tensor([[3.0, 4.0], [200.0, 201.0]])  # means 3.5 (stored −124.5) and 200.5 (stored 72.5)
    pooled = network._pool((levels * 0.5)[None, :, None, :])
    assert pooled.tolist() == [[3 * 0.5, 201 * 0.5]]
