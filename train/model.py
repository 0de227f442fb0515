"""RepVGG, top to bottom: blocks of 3×3 + 1×1 + identity branches, global average pooling, one fully connected layer.

A network is in one of two phases. `float`: the branches run separately, each with its batch norm. `qat`: every block
merges its branches into one kernel (differentiable, running statistics), quantizes it, and quantizes its output.
Images enter as pixel / 255, (N, C, H, W); padding is black.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import ModelConfig, NormConfig, QuantizeConfig
from train.errors import ConfigError
from train.layout import BlockLayout, blocks_of, layout_of
from train.mean_norm import MeanOnlyNorm
from train.mimic import branch_start, start_kernel, subtract_weight_mean
from train.norms import (
    BOUND_MOMENTUM,
    BatchNorm,
    BranchScale,
    Norm,
    OutlierAwareBatchNorm,
    make_branch_norm,
    ratio_penalty,
)
from train.quantizers import ActivationQuantizer, WeightQuantizer, make_activation_quantizer, make_weight_quantizer

CLASSIFIER = "classifier"
Kernels = list[tuple[Tensor, Tensor]]  # weight and bias per block


class RepVGGBlock(nn.Module):
    """ReLU(norm(3×3) + norm(1×1) [+ norm(identity), where C_in = C_out and stride 1]).

    With `norm.kind: qarep` it is QARepVGG's block (arXiv 2212.01593): ReLU(BN(BN(3×3) + 1×1 + x)).
    `identity_number` counts the blocks with an identity branch from 1; None = this one has none.
    """

    def __init__(self, layout: BlockLayout, norm: NormConfig, *, identity_number: int | None = None) -> None:
        super().__init__()
        self.name, self.stride, self.groups = layout.name, layout.stride, layout.groups
        in_channels, out_channels, stride, groups = (
            layout.in_channels,
            layout.out_channels,
            layout.stride,
            layout.groups,
        )
        self.conv3x3 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)
        self.conv1x1 = nn.Conv2d(in_channels, out_channels, 1, stride, groups=groups, bias=False)
        has_identity = identity_number is not None
        self.norm3x3: Norm
        self.norm1x1: Norm
        self.norm_identity: Norm | None
        if norm.kind == "mimic":
            start = branch_start(identity_number)
            self.norm3x3 = BranchScale(out_channels, start=start, has_bias=True)
            self.norm1x1 = BranchScale(out_channels, start=start, has_bias=False)
            self.norm_identity = BranchScale(out_channels, start=1.0, has_bias=False) if has_identity else None
            start_kernel(self.conv3x3)
            start_kernel(self.conv1x1)
        else:
            self.norm3x3 = make_branch_norm("3x3", out_channels, norm)
            self.norm1x1 = make_branch_norm("1x1", out_channels, norm)
            self.norm_identity = make_branch_norm("identity", out_channels, norm) if has_identity else None
        self.post_norm = BatchNorm(out_channels) if norm.kind == "qarep" else None
        self.weight_quantizer: WeightQuantizer | None = None
        self.activation_quantizer: ActivationQuantizer | None = None
        self.mean_norm: MeanOnlyNorm | None = None  # of the QAT phase
        self._refresh_bounds(momentum=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, ceil(H / stride), ceil(W / stride)), >= 0."""
        if self.weight_quantizer is not None:
            return self.quantized(x, *self.quantized_kernel())
        if self.training:
            self._refresh_bounds(momentum=BOUND_MOMENTUM)
        return F.relu(self.branch_sum(x))

    def attach_quantizers(self, bits: int, quantize: QuantizeConfig) -> None:
        """Enter the QAT phase."""
        shape = tuple(self.conv3x3.weight.shape)
        self.weight_quantizer = make_weight_quantizer(shape, bits, quantize.weights)
        self.activation_quantizer = make_activation_quantizer(quantize.activations)
        self.mean_norm = MeanOnlyNorm(shape[0]) if quantize.mean_norm_until else None

    def quantized_kernel(self) -> tuple[Tensor, Tensor]:
        """The merged kernel as the QAT phase convolves with it: (quantized weight OIHW, bias (O,))."""
        assert self.weight_quantizer is not None
        weight, bias = self.merged_kernel()
        return self.weight_quantizer(weight), bias

    def quantized(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The block in the QAT phase; the quantizer's lowest level is 0, so it is the ReLU as well.

        `bias` as `merged_kernel` gives it; in training the mean-only norm replaces its own part of it.
        """
        assert self.activation_quantizer is not None
        if self.mean_norm is None or self.mean_norm.fixed or not self.training:
            return self.activation_quantizer(self.convolve(x, weight, bias))
        outputs = self.convolve(x, weight, None)
        bias = bias - self.mean_norm.offset() + self.mean_norm.batch_offset(outputs)
        return self.activation_quantizer(outputs + bias.to(outputs.dtype)[:, None, None])

    def branch_sum(self, x: Tensor) -> Tensor:
        """The block before ReLU, branch by branch."""
        total = self.norm3x3(self.conv3x3(x)) + self.norm1x1(self.conv1x1(x))
        if self.norm_identity is not None:
            total = total + self.norm_identity(x)
        if self.post_norm is not None:
            total = self.post_norm(total)
        return total if self.mean_norm is None else total + self.mean_norm.offset()[:, None, None]

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The one convolution that the block merges to, before ReLU."""
        return F.conv2d(x, weight, bias, stride=self.stride, padding=1, groups=self.groups)

    def merged_kernel(self) -> tuple[Tensor, Tensor]:
        """(weight OIHW, bias (O,)) equal to the branches in evaluation; in the parameters' own float type."""
        weight, bias = self._merged_convolutions()
        if self.norm_identity is not None:
            scale, offset = self.norm_identity.merged()
            weight = weight + F.pad(diagonal(scale, self.groups)[:, :, None, None], [1, 1, 1, 1])
            bias = bias + offset
        if self.post_norm is not None:
            scale, offset = self.post_norm.merged()
            weight, bias = scale[:, None, None, None] * weight, scale * bias + offset
        return weight, bias if self.mean_norm is None else bias + self.mean_norm.offset()

    def _merged_convolutions(self) -> tuple[Tensor, Tensor]:
        """The 3×3 and the 1×1 branch alone, before a norm after the sum; a 1×1 kernel is a 3×3 one's centre tap."""
        scale3, offset3 = self.norm3x3.merged()
        scale1, offset1 = self.norm1x1.merged()
        centre = scale1[:, None, None, None] * self.conv1x1.weight
        weight = scale3[:, None, None, None] * self.conv3x3.weight + F.pad(centre, [1, 1, 1, 1])
        return weight, offset3 + offset1

    @torch.no_grad()
    def _refresh_bounds(self, *, momentum: float) -> None:
        """Tell OABN on the identity branch the largest merged weight outside the centre tap's diagonal (classes B and C)."""
        for norm in (self.norm3x3, self.norm1x1):
            if isinstance(norm, OutlierAwareBatchNorm):
                norm.refresh_robust_bound(momentum=momentum)
        if isinstance(self.norm_identity, OutlierAwareBatchNorm):
            magnitude = self._merged_convolutions()[0].abs()
            magnitude[:, :, 1, 1] *= 1 - diagonal(torch.ones_like(magnitude[:, 0, 0, 0]), self.groups)
            self.norm_identity.refresh_bound(magnitude.max(), momentum=momentum)


def diagonal(scale: Tensor, groups: int) -> Tensor:
    """(C,) -> (C, C / groups): what a 1×1 convolution needs to scale every channel by its own number."""
    if groups == 1:
        return torch.diag(scale)
    width = len(scale) // groups
    channel = torch.arange(len(scale), device=scale.device)
    return scale[:, None] * F.one_hot(channel % width, width).to(scale.dtype)


class Classifier(nn.Linear):
    """The fully connected layer, with a weight quantizer in the QAT phase; MimicNorm adds a norm of the logits.

    That norm (no trained scale or offset) merges into weight and bias; the QAT phase sees the merged ones.
    """

    def __init__(self, in_channels: int, classes: int, norm: NormConfig) -> None:
        super().__init__(in_channels, classes)
        self.name = CLASSIFIER
        self.logits_norm = nn.BatchNorm1d(classes, affine=False) if norm.kind == "mimic" else None
        self.weight_quantizer: WeightQuantizer | None = None

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, C) -> (N, classes)."""
        if self.weight_quantizer is not None:
            weight, bias = self.merged()
            return F.linear(pooled, self.weight_quantizer(weight), bias)
        logits = F.linear(pooled, self.weight, self.bias)
        return logits if self.logits_norm is None else self.logits_norm(logits)

    def merged(self) -> tuple[Tensor, Tensor]:
        """(weight (classes, C), bias (classes,)) with the norm's running statistics folded in."""
        if self.logits_norm is None:
            return self.weight, self.bias
        scale = torch.rsqrt(self.logits_norm.running_var + self.logits_norm.eps)
        return scale[:, None] * self.weight, scale * (self.bias - self.logits_norm.running_mean)


class RepVGG(nn.Module):
    """The whole net. Parameters are named by layer: `stage2.0.conv3x3.weight`, `classifier.bias`."""

    def __init__(
        self, config: ModelConfig, norm: NormConfig, quantize: QuantizeConfig, *, input_channels: int, classes: int
    ) -> None:
        super().__init__()
        layout = layout_of(config)
        described = iter(blocks_of(layout, input_channels))
        stages, identities = [], 0
        for stage, depth in enumerate(layout.depths, start=1):
            stage_blocks = nn.ModuleList()
            for block in itertools.islice(described, depth):
                identities += block.has_identity
                number = identities if block.has_identity else None
                stage_blocks.append(RepVGGBlock(block, norm, identity_number=number))
            self.add_module(f"stage{stage}", stage_blocks)
            stages.append(tuple(stage_blocks))
        self.stages: tuple[tuple[RepVGGBlock, ...], ...] = tuple(stages)
        self._blocks = tuple(block for stage_blocks in stages for block in stage_blocks)
        self.classifier = Classifier(layout.widths[-1], classes, norm)
        self.norm, self.quantize = norm, quantize
        self._compiled_blocks: Callable[[Tensor, Kernels], Tensor] | None = None
        self._compiled_stages: Callable[[Tensor, Kernels], list[Tensor]] | None = None
        self.bit_widths = layer_bit_widths([*(block.name for block in self._blocks), CLASSIFIER], quantize)
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
        for block in self._blocks:
            block.attach_quantizers(self.bit_widths[block.name], self.quantize)
        shape, bits = tuple(self.classifier.weight.shape), self.bit_widths[CLASSIFIER]
        self.classifier.weight_quantizer = make_weight_quantizer(shape, bits, self.quantize.weights)
        self.to(self.classifier.weight.device)

    @torch.no_grad()
    def after_step(self) -> None:
        """What a norm wants done after every optimizer step: MimicNorm's weight mean."""
        if self.norm.kind == "mimic":
            for block in self._blocks:
                subtract_weight_mean(block.conv3x3)
                subtract_weight_mean(block.conv1x1)

    def penalty(self) -> Tensor:
        """What the recipe's norm adds to the loss; 0 where `norm.penalty` is 0."""
        norms = [block.norm_identity for block in self._blocks if isinstance(block.norm_identity, BatchNorm)]
        if not self.norm.penalty or not norms:
            return torch.zeros((), device=self.classifier.weight.device)
        return ratio_penalty(norms, self.norm)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) pixel / 255 -> logits (N, classes); on the int8 grid in evaluation once that is calibrated."""
        if self._compiled_blocks is not None and self.training:
            return self.head(self._compiled_blocks(images, self._quantized_kernels()))
        return self.head(self.stage_outputs(images)[-1])

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The output of every stage for (N, C, H, W) pixel / 255."""
        if self._compiled_stages is not None and self.training:
            return self._compiled_stages(images, self._quantized_kernels())
        outputs, x = [], images
        for stage in self.stages:
            for block in stage:
                x = block(x)
            outputs.append(x)
        return outputs

    def compile_training(self) -> None:
        """Let torch fuse the elementwise work of training steps; evaluation stays as it is.

        In the QAT phase the weight quantizers stay outside: they are small, and what they do depends on their state.
        """
        if self.phase == "float":
            self.compile()
        else:
            # each is compiled at its first use; forward has its own, since stage outputs cost gradients that it does not need
            self._compiled_blocks = torch.compile(self._quantized_blocks)
            self._compiled_stages = torch.compile(self._quantized_stages)

    def _quantized_kernels(self) -> Kernels:
        return [block.quantized_kernel() for block in self._blocks]

    def _quantized_blocks(self, x: Tensor, kernels: Kernels) -> Tensor:
        """All blocks of the QAT phase with their kernels already quantized."""
        return self._quantized_stages(x, kernels)[-1]

    def _quantized_stages(self, x: Tensor, kernels: Kernels) -> list[Tensor]:
        """The output of every stage of the QAT phase, kernels already quantized."""
        outputs, pairs = [], iter(kernels)
        for stage in self.stages:
            for block in stage:
                x = block.quantized(x, *next(pairs))
            outputs.append(x)
        return outputs

    def head(self, x: Tensor) -> Tensor:
        """The last stage's output -> logits."""
        logits = self.classifier(self._pool(x))
        if self.training or self.phase == "float" or self.logits_scale == 0:
            return logits
        return self._on_logits_grid(logits)

    def _pool(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C): the mean, in the QAT phase rounded to the last block's levels as integers do."""
        mean = x.mean(dim=(2, 3))
        quantizer = self._blocks[-1].activation_quantizer
        if quantizer is None or not quantizer.is_integer:
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
