"""RepVGG, top to bottom: blocks of 3×3 + 1×1 + identity branches, global average pooling, one fully connected layer.

A network is in one of two phases. `float`: the branches run separately, each with its batch norm. `qat`: every block
merges its branches into one kernel (differentiable, running statistics), quantizes it, and quantizes its output.
Images enter as pixel / 255, (N, C, H, W); padding is black.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import ModelConfig, NormConfig, QuantizeConfig
from train.errors import ConfigError
from train.norms import BOUND_MOMENTUM, BatchNorm, OutlierAwareBatchNorm, make_identity_norm
from train.quantizers import LsqActivationQuantizer, WeightQuantizer, make_weight_quantizer

CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Layout:
    """One entry per stage; a stage's first block has its stride."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]


# 2.87, 7.64 and 13.42 million multiply-accumulates on 32×32×3 images
SIZES = {
    "xs": Layout((8, 16, 32, 64), (1, 2, 3, 1), (1, 2, 2, 2)),
    "s": Layout((12, 24, 48, 96), (1, 2, 4, 1), (1, 2, 2, 2)),
    "m": Layout((16, 32, 64, 128), (1, 2, 4, 1), (1, 2, 2, 2)),
}


def layout_of(config: ModelConfig) -> Layout:
    """The stages of a named size, or those written in the recipe."""
    if config.size is not None:
        return SIZES[config.size]
    return Layout(config.widths or (), config.depths or (), config.strides or ())


class RepVGGBlock(nn.Module):
    """ReLU(norm(3×3) + norm(1×1) [+ norm(identity), where C_in = C_out and stride 1])."""

    def __init__(self, name: str, in_channels: int, out_channels: int, *, stride: int, norm: NormConfig) -> None:
        super().__init__()
        self.name, self.stride = name, stride
        self.conv3x3 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm3x3 = BatchNorm(out_channels)
        self.conv1x1 = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.norm1x1 = BatchNorm(out_channels)
        has_identity = in_channels == out_channels and stride == 1
        self.norm_identity = make_identity_norm(out_channels, norm) if has_identity else None
        self.weight_quantizer: WeightQuantizer | None = None
        self.activation_quantizer: LsqActivationQuantizer | None = None
        self._refresh_bound(momentum=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, ceil(H / stride), ceil(W / stride)), >= 0."""
        if self.weight_quantizer is not None and self.activation_quantizer is not None:
            weight, bias = self.merged_kernel()
            # its lowest level is 0, so the unsigned quantizer is the ReLU as well
            return self.activation_quantizer(self.convolve(x, self.weight_quantizer(weight), bias))
        if self.training:
            self._refresh_bound(momentum=BOUND_MOMENTUM)
        total = self.norm3x3(self.conv3x3(x)) + self.norm1x1(self.conv1x1(x))
        if self.norm_identity is not None:
            total = total + self.norm_identity(x)
        return F.relu(total)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The one convolution that the block merges to, before ReLU."""
        return F.conv2d(x, weight, bias, stride=self.stride, padding=1)

    def merged_kernel(self) -> tuple[Tensor, Tensor]:
        """(weight OIHW, bias (O,)) equal to the three branches in evaluation; in the parameters' own float type."""
        weight, bias = self._merged_convolutions()
        if self.norm_identity is not None:
            scale, offset = self.norm_identity.merged()
            weight = weight + F.pad(torch.diag(scale)[:, :, None, None], [1, 1, 1, 1])
            bias = bias + offset
        return weight, bias

    def _merged_convolutions(self) -> tuple[Tensor, Tensor]:
        """The 3×3 and the 1×1 branch alone; a 1×1 kernel is the centre tap of a 3×3 one."""
        scale3, offset3 = self.norm3x3.merged()
        scale1, offset1 = self.norm1x1.merged()
        centre = scale1[:, None, None, None] * self.conv1x1.weight
        weight = scale3[:, None, None, None] * self.conv3x3.weight + F.pad(centre, [1, 1, 1, 1])
        return weight, offset3 + offset1

    @torch.no_grad()
    def _refresh_bound(self, *, momentum: float) -> None:
        """Tell OABN the largest merged weight outside the centre tap's diagonal (classes B and C)."""
        if not isinstance(self.norm_identity, OutlierAwareBatchNorm):
            return
        magnitude = self._merged_convolutions()[0].abs()
        magnitude[:, :, 1, 1].fill_diagonal_(0)
        self.norm_identity.refresh_bound(magnitude.max(), momentum=momentum)


class Classifier(nn.Linear):
    """The fully connected layer, with a weight quantizer in the QAT phase."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes)
        self.name = CLASSIFIER
        self.weight_quantizer: WeightQuantizer | None = None

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, C) -> (N, classes)."""
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        return F.linear(pooled, weight, self.bias)


class RepVGG(nn.Module):
    """The whole net. Parameters are named by layer: `stage2.0.conv3x3.weight`, `classifier.bias`."""

    def __init__(
        self, config: ModelConfig, norm: NormConfig, quantize: QuantizeConfig, *, input_channels: int, classes: int
    ) -> None:
        super().__init__()
        layout, channels, blocks = layout_of(config), input_channels, []
        for stage, (width, depth, stride) in enumerate(
            zip(layout.widths, layout.depths, layout.strides, strict=True), start=1
        ):
            stage_blocks = nn.ModuleList()
            for number in range(depth):
                name, block_stride = f"stage{stage}.{number}", stride if number == 0 else 1
                stage_blocks.append(RepVGGBlock(name, channels, width, stride=block_stride, norm=norm))
                channels = width
            self.add_module(f"stage{stage}", stage_blocks)
            blocks.extend(stage_blocks)
        self._blocks: tuple[RepVGGBlock, ...] = tuple(blocks)
        self.classifier = Classifier(channels, classes)
        self.quantize = quantize
        self.bit_widths = layer_bit_widths([*(block.name for block in blocks), CLASSIFIER], quantize)
        # int8 logits = round(logit / scale) + zero_point; scale 0 = not calibrated yet
        self.register_buffer("logits_scale", torch.tensor(0.0))
        self.register_buffer("logits_zero_point", torch.tensor(0, dtype=torch.int32))

    @property
    def blocks(self) -> list[RepVGGBlock]:
        """The blocks in order."""
        return list(self._blocks)

    @property
    def phase(self) -> str:
        """`float` or `qat`."""
        return "float" if self.classifier.weight_quantizer is None else "qat"

    def attach_quantizers(self) -> None:
        """Enter the QAT phase; the quantizers still have to be initialised or loaded."""
        weights, activation_bits = self.quantize.weights, self.quantize.activations.bit_width
        for block in self._blocks:
            shape, bits = tuple(block.conv3x3.weight.shape), self.bit_widths[block.name]
            block.weight_quantizer = make_weight_quantizer(shape, bits, weights)
            block.activation_quantizer = LsqActivationQuantizer(activation_bits)
        shape, bits = tuple(self.classifier.weight.shape), self.bit_widths[CLASSIFIER]
        self.classifier.weight_quantizer = make_weight_quantizer(shape, bits, weights)
        self.to(self.classifier.weight.device)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) pixel / 255 -> logits (N, classes); on the int8 grid in evaluation once that is calibrated."""
        x = images
        for block in self._blocks:
            x = block(x)
        logits = self.classifier(self._pool(x))
        if self.training or self.phase == "float" or self.logits_scale == 0:
            return logits
        return self._on_logits_grid(logits)

    def _pool(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C): the mean, in the QAT phase rounded to the last block's levels as integers do."""
        mean = x.mean(dim=(2, 3))
        quantizer = self._blocks[-1].activation_quantizer
        if quantizer is None:
            return mean
        scale = quantizer.current_scale().detach()
        with torch.no_grad():
            total = torch.round(x.detach() / scale).sum(dim=(2, 3))
            # the integer model rounds the stored int8 value (level − 128), half away from zero
            stored = total / (x.shape[2] * x.shape[3]) - 128
            pooled = (torch.sign(stored) * torch.floor(stored.abs() + 0.5) + 128) * scale
        return mean + (pooled - mean).detach()

    def _on_logits_grid(self, logits: Tensor) -> Tensor:
        level = torch.round(logits / self.logits_scale) + self.logits_zero_point
        return (level.clamp(-128, 127) - self.logits_zero_point) * self.logits_scale


def layer_bit_widths(names: list[str], quantize: QuantizeConfig) -> dict[str, int]:
    """Weight bits of every layer: first, last and inner ones, then the overrides of `quantize.weights.layers`."""
    weights = quantize.weights
    widths = dict.fromkeys(names, weights.bit_width)
    widths[names[0]], widths[names[-1]] = weights.first_bit_width, weights.last_bit_width
    for name, bits in weights.layers.items():
        if name not in widths:
            raise ConfigError(
                f"quantize.weights.layers: no layer {name}, allowed {', '.join(names)}; correct the name in the recipe"
            )
        if not 2 <= bits <= 8:
            raise ConfigError(f"layer {name}: bit_width {bits}, allowed 2 to 8; set quantize.weights.layers.{name}")
        widths[name] = bits
    return widths


def macs(config: ModelConfig, *, input_hwc: tuple[int, int, int], classes: int) -> int:
    """Multiply-accumulates of the merged net on one image; padded taps count, as is usual.

    >>> macs(ModelConfig(size="m"), input_hwc=(32, 32, 3), classes=10)
    13419776
    """
    layout = layout_of(config)
    height, width, channels = input_hwc
    total = 0
    for out_channels, depth, stride in zip(layout.widths, layout.depths, layout.strides, strict=True):
        for number in range(depth):
            step = stride if number == 0 else 1
            height, width = (height - 1) // step + 1, (width - 1) // step + 1
            total += height * width * 9 * channels * out_channels
            channels = out_channels
    return total + channels * classes
