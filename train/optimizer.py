"""The optimizer of a phase: what decays, and which parameters take steps of their own size."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from train.config import PhaseConfig
from train.model import RepVGG
from train.muon import Muon

ADAM_SECOND_MOMENTUM = 0.99  # phases are short: a few hundred steps an epoch
MUON_OTHERS = 2.5  # rate of what Muon does not orthogonalise (γ, β, classifier) over the kernels'


def make_optimizer(network: RepVGG, config: PhaseConfig, *, codebook_factor: float) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, AdamW or Muon; weight decay on kernels only (and γ of identities on request), a rate of their own for codebooks."""
    groups: dict[str, list[nn.Parameter]] = {"kernels": [], "codebooks": [], "others": []}
    steps: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if name.endswith("weight_quantizer.step") and config.optimizer == "adamw":
            steps.append(parameter)
            continue
        decays = parameter.ndim > 1 or (network.norm.decay_identity and name.endswith("norm_identity.weight"))
        kind = "codebooks" if name.endswith("centroids") else "kernels" if decays else "others"
        groups[kind].append(parameter)
    if config.optimizer == "muon":
        return _muon(groups["kernels"], groups["others"], config)
    described: list[dict[str, Any]] = [
        {"params": groups["kernels"], "weight_decay": config.weight_decay, "factor": 1.0},
        {"params": groups["codebooks"], "weight_decay": 0.0, "factor": codebook_factor},
        {"params": groups["others"], "weight_decay": 0.0, "factor": 1.0},
    ]
    # AdamW moves by the rate whatever the gradient: a uniform quantizer's step moves by that share of itself
    described += [
        {"params": [step], "weight_decay": 0.0, "factor": float(step.detach().abs().mean())} for step in steps
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            described, lr=config.learning_rate, betas=(config.momentum, ADAM_SECOND_MOMENTUM), fused=True
        )
    return torch.optim.SGD(
        described, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
    )


def _muon(decaying: list[nn.Parameter], others: list[nn.Parameter], config: PhaseConfig) -> Muon:
    """Muon on the convolution kernels, Nesterov momentum on the rest; the float phase has no codebooks."""
    kernels = [parameter for parameter in decaying if parameter.ndim == 4]
    rest = [parameter for parameter in decaying if parameter.ndim != 4]
    return Muon(
        [
            {"params": kernels, "orthogonal": True, "factor": 1.0},
            {"params": rest, "weight_decay": config.weight_decay, "factor": MUON_OTHERS},
            {"params": others, "factor": MUON_OTHERS},
        ],
        lr=config.learning_rate,
        momentum=config.momentum,
    )
