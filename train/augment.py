"""Augmentation on batches of tensors: shift, flip, rotate, scale, cutout. New pixels are black, as padding is."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from train.config import AugmentConfig


def augment(images: Tensor, config: AugmentConfig, *, generator: Generator) -> Tensor:
    """(N, C, H, W) in [0, 1] -> the same, each image changed on its own. Random numbers are drawn on the CPU."""
    if config.horizontal_flip:
        images = _flip(images, generator)
    if config.rotate_degrees or config.scale:
        images = _rotate_and_scale(images, config, generator)
    if config.shift_pixels:
        images = _shift(images, config.shift_pixels, generator)
    if config.cutout_pixels:
        images = _cut_out(images, config.cutout_pixels, generator)
    return images


def _flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror about half of the images."""
    chosen = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def _rotate_and_scale(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """A random angle and zoom per image, bilinear."""
    draws = torch.rand(2, len(images), generator=generator).to(images.device) * 2 - 1
    angle = draws[0] * math.radians(config.rotate_degrees)
    zoom = 1 + draws[1] * config.scale
    cosine, sine, zero = torch.cos(angle) / zoom, torch.sin(angle) / zoom, torch.zeros_like(angle)
    matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Move each image by up to `pixels` whole pixels along both axes."""
    count, _, height, width = images.shape
    offsets = torch.randint(0, 2 * pixels + 1, (2, count, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height)).to(images.device)  # (N, H)
    columns = (offsets[1] + torch.arange(width)).to(images.device)  # (N, W)
    padded = F.pad(images, [pixels] * 4).permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    number = torch.arange(count, device=images.device)[:, None, None]
    return padded[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Blacken one square of `pixels` per image, its centre anywhere in the image."""
    count, _, height, width = images.shape
    centre = torch.rand(2, count, 1, generator=generator)
    top = (centre[0] * height).long() - pixels // 2
    left = (centre[1] * width).long() - pixels // 2
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < top + pixels)  # (N, H)
    inside_columns = (columns >= left) & (columns < left + pixels)  # (N, W)
    keep = ~(inside_rows[:, :, None] & inside_columns[:, None, :])
    return images * keep[:, None].to(images)
