"""From the float phase to the QAT phase and out of it: start the quantizers, guide them, calibrate the logits."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.config import WeightQuantizerConfig
from train.evaluate import logits_of, to_input
from train.fold import fold_branches
from train.model import Classifier, RepVGG, RepVGGBlock
from train.oscillation import annealed_threshold

CALIBRATION_IMAGES = 1024
LOGITS_HEADROOM = 1.05  # unseen images go a little beyond the calibrated range


@torch.no_grad()
def start_qat(network: RepVGG, images: Tensor, *, fold: bool = True) -> None:
    """Attach quantizers and start them: codebooks from the merged kernels, activation scales from uint8 `images`.

    With `fold` the branches' statistics move into their kernels first (`train.fold`).
    """
    if fold:
        fold_branches(network)
    network.attach_quantizers()
    x = to_input(images[:CALIBRATION_IMAGES])
    for block in network.blocks:
        weight, bias = block.merged_kernel()
        outputs = block.convolve(x, weight, None)
        if block.mean_norm is not None:
            block.mean_norm.initialise(outputs)
        x = F.relu(outputs + bias[:, None, None])
        assert block.weight_quantizer is not None and block.activation_quantizer is not None
        block.weight_quantizer.initialise(weight)
        block.activation_quantizer.initialise(x)
    assert network.classifier.weight_quantizer is not None
    network.classifier.weight_quantizer.initialise(network.classifier.merged()[0])


def layer_weight(layer: RepVGGBlock | Classifier) -> Tensor:
    """The weight that a layer's quantizer sees."""
    return layer.merged()[0] if isinstance(layer, Classifier) else layer.merged_kernel()[0]


def quantized_layers(network: RepVGG) -> list[RepVGGBlock | Classifier]:
    """The layers with weights, in order."""
    return [*network.blocks, network.classifier]


@torch.no_grad()
def guide_quantizers(
    network: RepVGG, step: int, *, steps_per_epoch: int, epochs: int, config: WeightQuantizerConfig
) -> None:
    """Before a step: refresh the codebooks once per early epoch (from the second on), hold what oscillates, fix the
    mean-only norms, freeze the indices for the last steps.
    """
    steps = epochs * steps_per_epoch
    for block in network.blocks:
        if block.mean_norm is not None:
            block.mean_norm.fixed = step >= network.quantize.mean_norm_until * steps
    if config.oscillation_threshold is not None:
        threshold = annealed_threshold(config.oscillation_threshold, step / steps, until=config.freeze_from)
        for layer in quantized_layers(network):
            assert layer.weight_quantizer is not None
            if layer.weight_quantizer.oscillation is not None:
                layer.weight_quantizer.oscillation.threshold = threshold
    if step and step % steps_per_epoch == 0 and step < config.recluster_until * steps:
        for layer in quantized_layers(network):
            assert layer.weight_quantizer is not None
            layer.weight_quantizer.refresh(layer_weight(layer))
    if step >= config.freeze_from * steps:
        freeze_quantizers(network)


@torch.no_grad()
def freeze_quantizers(network: RepVGG) -> None:
    """From now on every layer keeps the indices of its weights as they are now."""
    for layer in quantized_layers(network):
        quantizer = layer.weight_quantizer
        assert quantizer is not None
        if not quantizer.frozen:
            quantizer(layer_weight(layer))
            quantizer.freeze()


@torch.no_grad()
def finish_qat(network: RepVGG, images: Tensor) -> None:
    """Freeze what the network computes now and set the logits' int8 scale from up to 1,024 uint8 training images."""
    freeze_quantizers(network)
    for block in network.blocks:
        assert block.activation_quantizer is not None
        block.activation_quantizer.settle()
    network.logits_scale.zero_()  # logits as floats while they are measured
    logits = logits_of(network, images[:CALIBRATION_IMAGES])
    scale, zero_point = logits_quantization(float(logits.min()), float(logits.max()))
    network.logits_scale.fill_(float(scale))
    network.logits_zero_point.fill_(zero_point)


@torch.no_grad()
def settle_means(average: RepVGG, live: RepVGG, augmented: Tensor) -> None:
    """The running means of the averaged weights: the live net's where they are fixed, else measured layer by layer.

    A moving average of many steps' means belongs to none of these steps' weights, still less to the average of them.
    `augmented` are images (N, C, H, W) in [0, 1] as training sees them: black borders move the means too.
    """
    x = augmented
    for block, trained in zip(average.blocks, live.blocks, strict=True):
        if block.mean_norm is None or trained.mean_norm is None:
            return
        if trained.mean_norm.fixed:
            block.mean_norm.running_mean.copy_(trained.mean_norm.running_mean)
            continue
        weight, _ = block.quantized_kernel()
        block.mean_norm.running_mean.copy_(block.convolve(x, weight, None).mean(dim=(0, 2, 3)))
        x = block(x)


def logits_quantization(lowest: float, highest: float) -> tuple[np.float32, int]:
    """(scale, zero_point) so that int8 covers [lowest, highest], zero and a little headroom."""
    lowest, highest = LOGITS_HEADROOM * min(lowest, 0.0), LOGITS_HEADROOM * max(highest, 0.0)
    scale = np.float32(max((highest - lowest) / 255, 1e-8))
    return scale, int(np.clip(round(-128 - lowest / float(scale)), -128, 127))
