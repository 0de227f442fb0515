"""The diagonal split, a rival to OABN that needs no training: the merged kernel without its centre tap's diagonal, plus that diagonal.

y = conv(x, Q(W − pad(diag d))) + d̂ ⊙ x + b with d the diagonal itself, so that nothing of it is left in the kernel, and d̂ its
8-bit form. It costs one multiply-accumulate per channel and pixel. The integer model has no such layer: accuracy only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convert.float_network import Float64, FloatConv, FloatNetwork
from convert.from_float import plan_float
from convert.lower import LayerPlan
from convert.reconstruction import FloatLayer, plan_weight
from train.config import QuantizeConfig

GRID_MAX = 127
BATCH = 250


def split(conv: FloatConv) -> tuple[FloatConv, Float64 | None]:
    """(the convolution without its diagonal, d (C,)); None where input and output differ in shape."""
    weight = conv.weight_oihw.copy()
    if weight.shape[0] != weight.shape[1] or conv.stride != 1:
        return conv, None
    channel = np.arange(len(weight))
    diagonal = weight[channel, channel, 1, 1].copy()
    weight[channel, channel, 1, 1] = 0.0
    return replace(conv, weight_oihw=weight), diagonal


def split_logits(
    merged: FloatNetwork, config: QuantizeConfig, calibration: NDArray[np.uint8], images: NDArray[np.uint8]
) -> Float64:
    """Logits (N, classes) of the fake-quantized split net; activation ranges are those of the whole net."""
    whole = plan_float(merged, config, calibration)
    parts = [split(conv) for conv in merged.convs]
    rest = plan_float(replace(merged, convs=tuple(conv for conv, _ in parts)), config, calibration)
    layers = [
        (replace(plan, output_scale=ours.output_scale), None if diagonal is None else _eight_bit(diagonal))
        for plan, ours, (_, diagonal) in zip(rest.convs, whole.convs, parts, strict=True)
    ]
    classifier = FloatLayer(plan_weight(whole.classifier), torch.from_numpy(whole.classifier.bias).float())
    logits = []
    for start in range(0, len(images), BATCH):
        x = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
        for plan, diagonal in layers:
            x = _run(plan, diagonal, x)
        logits.append(classifier(x.mean(dim=(2, 3))).double().numpy())
    return np.concatenate(logits)


def _eight_bit(diagonal: Float64) -> Tensor:
    scale = max(float(np.abs(diagonal).max()), 1e-12) / GRID_MAX
    return torch.from_numpy(np.rint(diagonal / scale) * scale).float()


def _run(plan: LayerPlan, diagonal: Tensor | None, x: Tensor) -> Tensor:
    """The layer's output on its activation levels."""
    bias = torch.from_numpy(plan.bias).float()
    total = torch.nn.functional.conv2d(x, plan_weight(plan), bias, stride=plan.stride, padding=1)
    if diagonal is not None:
        total = total + diagonal[:, None, None] * x
    return torch.floor(total / plan.output_scale + 0.5).clamp(0, 2**plan.activation_bits - 1) * plan.output_scale
