"""Augmentation on batches of tensors: shift, flip, rotate, scale, cutout. New pixels are black, as padding is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from train.config import AugmentConfig


@dataclass(frozen=True)
class Draws:
    """The random numbers of N images: one row per kind of change that the recipe names, images along the last axis."""

    flip: Tensor | None  # (N,) in [0, 1)
    affine: Tensor | None  # (2, N) in [0, 1): angle, zoom
    shift: Tensor | None  # (2, N) whole pixels from 0: rows, columns
    cutout: Tensor | None  # (2, N) in [0, 1): the square's centre

    def of(self, images: Tensor) -> Draws:
        """Those of some images, by their numbers."""
        rows = (self.flip, self.affine, self.shift, self.cutout)
        return Draws(*(None if row is None else row[..., images] for row in rows))


def draw(config: AugmentConfig, count: int, *, generator: Generator) -> Draws:
    """Random numbers for `count` images, drawn on the CPU."""
    flip = torch.rand(count, generator=generator) if config.horizontal_flip else None
    affine = torch.rand(2, count, generator=generator) if config.rotate_degrees or config.scale else None
    shift = cutout = None
    if config.shift_pixels:
        shift = torch.randint(0, 2 * config.shift_pixels + 1, (2, count), generator=generator)
    if config.cutout_pixels:
        cutout = torch.rand(2, count, generator=generator)
    return Draws(flip, affine, shift, cutout)


def augment(images: Tensor, config: AugmentConfig, *, generator: Generator) -> Tensor:
    """(N, C, H, W) in [0, 1] -> the same, each image changed on its own."""
    return apply_draws(images, config, draw(config, len(images), generator=generator))


def apply_draws(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """(N, C, H, W) in [0, 1] -> the same, changed as drawn."""
    if draws.flip is not None:
        images = _flip(images, draws.flip)
    if draws.affine is not None:
        images = _rotate_and_scale(images, config, draws.affine)
    if draws.shift is not None:
        images = _shift(images, config.shift_pixels, draws.shift)
    if draws.cutout is not None:
        images = _cut_out(images, config.cutout_pixels, draws.cutout)
    return images


def _flip(images: Tensor, drawn: Tensor) -> Tensor:
    """Mirror about half of the images."""
    chosen = (drawn < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def _rotate_and_scale(images: Tensor, config: AugmentConfig, drawn: Tensor) -> Tensor:
    """A random angle and zoom per image, bilinear."""
    draws = drawn.to(images.device) * 2 - 1
    angle = draws[0] * math.radians(config.rotate_degrees)
    zoom = 1 + draws[1] * config.scale
    cosine, sine, zero = torch.cos(angle) / zoom, torch.sin(angle) / zoom, torch.zeros_like(angle)
    matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _shift(images: Tensor, pixels: int, offsets: Tensor) -> Tensor:
    """Move each image by up to `pixels` whole pixels along both axes."""
    count, _, height, width = images.shape
    rows = (offsets[0, :, None] + torch.arange(height)).to(images.device)  # (N, H)
    columns = (offsets[1, :, None] + torch.arange(width)).to(images.device)  # (N, W)
    padded = F.pad(images, [pixels] * 4).permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    number = torch.arange(count, device=images.device)[:, None, None]
    return padded[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, pixels: int, centre: Tensor) -> Tensor:
    """Blacken one square of `pixels` per image, its centre anywhere in the image."""
    height, width = images.shape[2:]
    top = (centre[0, :, None] * height).long() - pixels // 2
    left = (centre[1, :, None] * width).long() - pixels // 2
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < top + pixels)  # (N, H)
    inside_columns = (columns >= left) & (columns < left + pixels)  # (N, W)
    keep = ~(inside_rows[:, :, None] & inside_columns[:, None, :])
    return images * keep[:, None].to(images)
