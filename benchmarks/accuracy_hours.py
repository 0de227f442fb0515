"""How long cells will take here: one float and one QAT step of each size are timed, the rest is counting."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from benchmarks.accuracy_grid import Cell
from train.checkpoint import ModelDescription, build_network
from train.config import DistillationConfig
from train.dataset import Dataset
from train.objective import Objective, TaskObjective, make_objective
from train.partner import FloatPartner
from train.phase import steps_per_epoch
from train.qat import start_qat

TIMED_STEPS = 3
OVERHEAD = 1.15  # optimizer, average, augmentation, validation


def seconds_of(cells: Sequence[Cell], dataset: Dataset, *, device: str = "cpu") -> float:
    """Estimated seconds of all cells together; float nets that cells share count once."""
    float_nets = {cell.float_key: cell for cell in cells}.values()
    measured: dict[str, float] = {}

    def step(cell: Cell, phase: str) -> float:
        kind = cell.recipe.train.qat_phase.distillation.kind if phase == "qat" else "none"
        name = f"{cell.recipe.model} {phase} {kind} {cell.recipe.quantize.weights.method if phase == 'qat' else ''}"
        if name not in measured:
            measured[name] = _time_step(cell, dataset, phase, device)
        return measured[name]

    total = 0.0
    for cells_of_phase, phase in ((float_nets, "float"), (cells, "qat")):
        for cell in cells_of_phase:
            config = getattr(cell.recipe.train, f"{phase}_phase")
            images = len(dataset.train_labels) * (1 - cell.recipe.data.validation_share)
            if config.epochs:
                total += config.epochs * steps_per_epoch(int(images), config.batch_size) * step(cell, phase)
    return OVERHEAD * total


def _time_step(cell: Cell, dataset: Dataset, phase: str, device: str) -> float:
    """Seconds of one forward and backward pass of a batch."""
    recipe = cell.recipe
    description = ModelDescription(
        class_names=dataset.class_names,
        input_hwc=dataset.input_hwc,
        model=recipe.model,
        norm=recipe.norm,
        quantize=recipe.quantize,
    )
    network = build_network(description).to(device, memory_format=torch.channels_last)
    partner = FloatPartner(network)
    batch = getattr(recipe.train, f"{phase}_phase").batch_size
    images = torch.from_numpy(dataset.train_images[:batch]).permute(0, 3, 1, 2).to(device)
    labels = torch.from_numpy(dataset.train_labels[:batch].astype("int64")).to(device)
    distillation: DistillationConfig = recipe.train.qat_phase.distillation
    objective: Objective = TaskObjective(0.0)
    if phase == "qat":
        start_qat(network, images)
        objective = make_objective(distillation, label_smoothing=0.0, partner=partner)
    network.train()
    times = []
    for _ in range(1 + TIMED_STEPS):
        started = time.perf_counter()
        network.zero_grad()
        objective(network, images / 255, labels).backward()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[TIMED_STEPS // 2]
