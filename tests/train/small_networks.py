"""Small networks with randomised statistics, for the tests of this room."""

from __future__ import annotations

import torch

from train.config import ModelConfig, NormConfig, QuantizeConfig
from train.model import RepVGG

MODEL = ModelConfig(widths=(6, 8), depths=(2, 2), strides=(1, 2))


def small_network(
    seed: int = 0, *, norm: NormConfig | None = None, quantize: QuantizeConfig | None = None, channels: int = 3
) -> RepVGG:
    """Blocks stage1.0, stage1.1 (identity), stage2.0, stage2.1 (identity); 5 classes; random batch norms."""
    torch.manual_seed(seed)
    network = RepVGG(MODEL, norm or NormConfig(), quantize or QuantizeConfig(), input_channels=channels, classes=5)
    randomise_norms(network)
    return network.eval()


@torch.no_grad()
def randomise_norms(network: RepVGG) -> None:
    """Random scales, offsets and statistics; the first channel of every norm has a variance below 1e-6."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(-1.5, 1.5)
            module.bias.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.2, 2.0)
            module.running_var[0] = 1e-7
