"""The learning rate of a phase: linear warm-up, then cosine to zero."""

from __future__ import annotations

import math

from train.config import PhaseConfig


def learning_rate(step: int, *, steps_per_epoch: int, config: PhaseConfig) -> float:
    """The rate of a step (0 … epochs · steps_per_epoch − 1).

    >>> phase = PhaseConfig(epochs=2, learning_rate=1.0, warmup_epochs=1)
    >>> [round(learning_rate(step, steps_per_epoch=2, config=phase), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    remaining = max(1, config.epochs * steps_per_epoch - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / remaining))
