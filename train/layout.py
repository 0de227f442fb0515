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


def parameters(config: ModelConfig, *, input_hwc: tuple[int, int, int], classes: int) -> int:
    """Weights and biases of the merged net.

    >>> parameters(ModelConfig(size="m"), input_hwc=(32, 32, 3), classes=10)
    218762
    """
    layout, channels, total = layout_of(config), input_hwc[2], 0
    for out_channels, depth in zip(layout.widths, layout.depths, strict=True):
        for _ in range(depth):
            total += 9 * channels * out_channels + out_channels
            channels = out_channels
    return total + channels * classes + classes
