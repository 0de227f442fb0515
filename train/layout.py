"""The stages of a RepVGG: named sizes, and what a net of them costs."""

from __future__ import annotations

from dataclasses import dataclass

from train.config import ModelConfig


@dataclass(frozen=True)
class Layout:
    """One entry per stage; a stage's first block has its stride."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]
    groups: int = 1

    def block_groups(self, number: int) -> int:
        """Groups of a block, counted from 0 through the whole net: every second one after the first is grouped."""
        return self.groups if number and number % 2 == 0 else 1


def official(depths: tuple[int, ...], factors: tuple[float, ...], groups: int = 1) -> Layout:
    """RepVGG of Ding et al. 2021 (arXiv 2101.03697): a first block, then four stages of 64·a, 128·b, 256·c, 512·d channels.

    The authors' file calls them stage0 … stage4; here they are stage1 … stage5.
    """
    widths = tuple(int(64 * 2**stage * factor) for stage, factor in enumerate(factors))
    return Layout((min(64, widths[0]), *widths), (1, *depths), (2,) * 5, groups)


A, B = (2, 4, 14, 1), (4, 6, 16, 1)
# xs, s, m: 2.87, 7.64 and 13.42 million multiply-accumulates on 32×32×3 images
SIZES = {
    "xs": Layout((8, 16, 32, 64), (1, 2, 3, 1), (1, 2, 2, 2)),
    "s": Layout((12, 24, 48, 96), (1, 2, 4, 1), (1, 2, 2, 2)),
    "m": Layout((16, 32, 64, 128), (1, 2, 4, 1), (1, 2, 2, 2)),
    "a0": official(A, (0.75, 0.75, 0.75, 2.5)),
    "a1": official(A, (1, 1, 1, 2.5)),
    "a2": official(A, (1.5, 1.5, 1.5, 2.75)),
    "b0": official(B, (1, 1, 1, 2.5)),
    "b1": official(B, (2, 2, 2, 4)),
    "b1g2": official(B, (2, 2, 2, 4), groups=2),
    "b1g4": official(B, (2, 2, 2, 4), groups=4),
    "b2": official(B, (2.5, 2.5, 2.5, 5)),
    "b2g2": official(B, (2.5, 2.5, 2.5, 5), groups=2),
    "b2g4": official(B, (2.5, 2.5, 2.5, 5), groups=4),
    "b3": official(B, (3, 3, 3, 5)),
    "b3g2": official(B, (3, 3, 3, 5), groups=2),
    "b3g4": official(B, (3, 3, 3, 5), groups=4),
}


def layout_of(config: ModelConfig) -> Layout:
    """The stages of a named size, or those written in the recipe."""
    if config.size is not None:
        return SIZES[config.size]
    return Layout(config.widths or (), config.depths or (), config.strides or (), config.groups)


def macs(config: ModelConfig, *, input_hwc: tuple[int, int, int], classes: int) -> int:
    """Multiply-accumulates of the merged net on one image; padded taps count, as is usual.

    >>> macs(ModelConfig(size="m"), input_hwc=(32, 32, 3), classes=10)
    13419776
    """
    height, width, _ = input_hwc
    total = 0
    for block in blocks_of(layout_of(config), input_hwc[2]):
        height, width = (height - 1) // block.stride + 1, (width - 1) // block.stride + 1
        total += height * width * block.weights
    return total + layout_of(config).widths[-1] * classes


def parameters(config: ModelConfig, *, input_hwc: tuple[int, int, int], classes: int) -> int:
    """Weights and biases of the merged net.

    >>> parameters(ModelConfig(size="m"), input_hwc=(32, 32, 3), classes=10)
    218762
    """
    layout = layout_of(config)
    blocks = blocks_of(layout, input_hwc[2])
    return sum(block.weights + block.out_channels for block in blocks) + (layout.widths[-1] + 1) * classes


@dataclass(frozen=True)
class BlockLayout:
    """One block; its merged kernel is (out_channels, in_channels / groups, 3, 3)."""

    name: str
    in_channels: int
    out_channels: int
    stride: int
    groups: int

    @property
    def weights(self) -> int:
        """Of the merged kernel."""
        return 9 * self.in_channels // self.groups * self.out_channels

    @property
    def has_identity(self) -> bool:
        """Whether input and output have the same shape."""
        return self.in_channels == self.out_channels and self.stride == 1


def blocks_of(layout: Layout, input_channels: int) -> list[BlockLayout]:
    """All blocks in order, named `stage<from 1>.<from 0>`."""
    blocks: list[BlockLayout] = []
    channels = input_channels
    for stage, (width, depth, stride) in enumerate(
        zip(layout.widths, layout.depths, layout.strides, strict=True), start=1
    ):
        for number in range(depth):
            groups = layout.block_groups(len(blocks))
            step = stride if number == 0 else 1
            blocks.append(BlockLayout(f"stage{stage}.{number}", channels, width, step, groups))
            channels = width
    return blocks
