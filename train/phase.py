"""One training phase: epochs of steps on augmented batches, an average of the weights, a validation after each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from train.augment import Draws, apply_draws, draw
from train.compiling import compile_failures, compile_step
from train.config import PhaseConfig, TrainingRecipe
from train.ema import MovingAverage
from train.errors import TrainingDiverged
from train.evaluate import to_input, top1
from train.log import TrainingLog
from train.model import RepVGG
from train.objective import Objective
from train.partner import ViewTeacher
from train.progress import Progress
from train.qat import guide_quantizers, settle_means
from train.schedule import learning_rate
from train.split import Splits

# called with the facts of each epoch; what it raises ends the training, which can be resumed
Watch = Callable[[dict[str, Any]], None]
PHASE_NUMBERS = {"float": 1, "qat": 2}
VIEW_STREAM = (1,)  # apart from the epochs' own numbers


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches only, but at least one."""
    return max(1, images // batch_size)


@dataclass
class PhaseRun:
    """A phase under way: the live network, its average, the optimizer, and how far it has come."""

    recipe: TrainingRecipe
    live: RepVGG
    average: MovingAverage
    optimizer: torch.optim.Optimizer
    objective: Objective
    watch: Watch | None = None
    step: int = 0
    view_teacher: ViewTeacher | None = None  # the objective's, where the recipe limits the views
    augmented: Tensor | None = None  # QAT: images that the average's mean-only norms settle on before each validation

    @property
    def config(self) -> PhaseConfig:
        """The recipe's section of this phase."""
        return self.recipe.train.float_phase if self.live.phase == "float" else self.recipe.train.qat_phase

    def run(
        self,
        splits: Splits,
        *,
        first_epoch: int,
        log: TrainingLog,
        progress: Progress,
        after_epoch: Callable[[int], None],
    ) -> None:
        """Train from `first_epoch` to the end; `after_epoch(epochs_done)` is called once each epoch is logged."""
        if self.config.compile:
            compile_step(self.live)
        for epoch in range(first_epoch, self.config.epochs):
            started = time.monotonic()
            with compile_failures():  # what is compiled is compiled at its first use
                loss = self._train_epoch(splits, epoch, progress)
            facts: dict[str, Any] = {"phase": self.live.phase, "epoch": epoch + 1, "loss": loss}
            if self.augmented is not None:
                settle_means(self.average.network, self.live, self.augmented)
            if len(splits.validation_labels):
                facts["validation_top1"] = top1(
                    self.average.network, splits.validation_images, splits.validation_labels
                )
            log.record({**facts, "seconds": round(time.monotonic() - started, 3)})
            progress.epoch(_line(facts, self.config.epochs))
            after_epoch(epoch + 1)
            if self.watch is not None:
                self.watch(facts)

    def _train_epoch(self, splits: Splits, epoch: int, progress: Progress) -> float:
        """Mean training loss of one epoch."""
        steps = steps_per_epoch(len(splits.train_labels), self.config.batch_size)
        self.live.train()
        total = 0.0
        for images, labels in self._batches(splits, epoch, steps):
            if self.live.phase == "qat":
                weights = self.recipe.quantize.weights
                guide_quantizers(self.live, self.step, steps_per_epoch=steps, epochs=self.config.epochs, config=weights)
            total += self.train_step(images, labels, steps_per_epoch=steps)
            progress.step()
        return total / steps

    def _batches(self, splits: Splits, epoch: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's augmented batches, (images, labels); where a view teacher needs it, it hears which views they are."""
        config, images = self.recipe.data.augment, len(splits.train_labels)
        generator = epoch_generator(self.recipe.seed, self.live.phase, epoch)
        view, of_view = self._view(epoch, images)
        for batch in _orders(images, self.config.batch_size, steps, generator):
            if of_view is None:
                draws = draw(config, len(batch), generator=generator)
            else:
                draws = of_view.of(batch)
                assert self.view_teacher is not None
                self.view_teacher.select(view, batch)
            yield apply_draws(to_input(splits.train_images[batch]), config, draws), splits.train_labels[batch]

    def _view(self, epoch: int, images: int) -> tuple[int, Draws | None]:
        """Which view of every image the epoch shows; (0, None) where each epoch draws its own."""
        if self.view_teacher is None:
            return 0, None
        view = epoch % self.view_teacher.views
        generator = epoch_generator(self.recipe.seed, self.live.phase, view, stream=VIEW_STREAM)
        return view, draw(self.recipe.data.augment, images, generator=generator)

    def train_step(self, images: Tensor, labels: Tensor, *, steps_per_epoch: int) -> float:
        """One step on a batch of (N, C, H, W) pixel / 255; returns its loss."""
        rate = learning_rate(self.step, steps_per_epoch=steps_per_epoch, config=self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss = self.objective(self.live, images, labels)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise TrainingDiverged(
                f"{self.live.phase} phase, step {self.step + 1}: loss {value}, allowed are finite values; lower "
                f"train.{self.live.phase}_phase.learning_rate (now {self.config.learning_rate}) or raise its warmup_epochs"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.live.after_step()
        self.average.update(self.live, step=self.step)
        self.step += 1
        return value


def epoch_generator(seed: int, phase: str, epoch: int, *, stream: tuple[int, ...] = ()) -> Generator:
    """The random numbers of one epoch (order of the images, augmentation); it depends on nothing before it."""
    state = np.random.SeedSequence([seed, PHASE_NUMBERS[phase], epoch, *stream]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0]) >> 1)


def _orders(images: int, batch_size: int, steps: int, generator: Generator) -> Iterator[Tensor]:
    order = torch.randperm(images, generator=generator)
    for number in range(steps):
        yield order[number * batch_size : (number + 1) * batch_size]


def _line(facts: dict[str, Any], epochs: int) -> str:
    validation = f" · validation {facts['validation_top1']:.2f} %" if "validation_top1" in facts else ""
    return f"{facts['phase']} {facts['epoch']}/{epochs} · loss {facts['loss']:.4f}{validation}"
