"""The float partner of a QAT net: the same net after its float phase, merged and fixed. It judges and teaches."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.model import RepVGG


class FloatPartner(nn.Module):
    """The float phase's net in evaluation mode with merged kernels (a third of the branches' cost); nothing trains.

    Gradients flow through it to its input.
    """

    def __init__(self, network: RepVGG) -> None:
        super().__init__()
        frozen = copy.deepcopy(network).eval().requires_grad_(False)
        self._stages: list[list[str]] = []
        self._strides: dict[str, int] = {}
        for blocks in frozen.stages:
            self._stages.append([self._keep(block.name, block.stride, *block.merged_kernel()) for block in blocks])
        self._keep("classifier", 1, *frozen.classifier.merged())

    def _keep(self, name: str, stride: int, weight: Tensor, bias: Tensor) -> str:
        key = name.replace(".", "_")
        self.register_buffer(f"{key}_weight", weight.detach().clone())
        self.register_buffer(f"{key}_bias", bias.detach().clone())
        self._strides[key] = stride
        return key

    def tail(self, x: Tensor, *, stages_done: int) -> Tensor:
        """Logits (N, classes) of the output of the first `stages_done` stages; 0 takes images."""
        for keys in self._stages[stages_done:]:
            for key in keys:
                weight, bias = self.get_buffer(f"{key}_weight"), self.get_buffer(f"{key}_bias")
                x = F.relu(F.conv2d(x, weight, bias, stride=self._strides[key], padding=1))
        return F.linear(x.mean(dim=(2, 3)), self.get_buffer("classifier_weight"), self.get_buffer("classifier_bias"))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits of the whole float net, without gradient."""
        return self.tail(images, stages_done=0)
