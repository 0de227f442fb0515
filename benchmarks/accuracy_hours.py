"""How long cells will take here: one float and one QAT step of each size are timed, the rest is counting."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from benchmarks.accuracy_grid import Cell
from train.checkpoint import ModelDescription, build_network
from train.config import DistillationConfig
from train.dataset import Dataset
from train.layout import macs
from train.objective import Objective, TaskObjective, make_objective
from train.partner import FloatPartner
from train.phase import steps_per_epoch
from train.qat import start_qat

TIMED_STEPS = 3
OVERHEAD = 1.15  # optimizer, average, augmentation, validation
COMPILED_SHARE = (
    0.6  # of the uncompiled bf16 step's time, measured at xs on one thread; compiling to find out would take minutes
)
RECONSTRUCTION_IMAGES = (
    3 * 32 * 2
)  # forward and backward count as three forwards; the rest of a stage about as much again
FORWARD_SECONDS_PER_MMAC = 1.0e-4  # of one image in float32 on one thread


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
    return OVERHEAD * total + sum(reconstruction_seconds(cell, dataset) for cell in cells)


def reconstruction_seconds(cell: Cell, dataset: Dataset) -> float:
    """AdaRound or RepAPQ of one cell, from the net's multiply-accumulates."""
    post = cell.recipe.quantize.post_training
    if cell.recipe.train.qat_phase.epochs or post.reconstruction == "none":
        return 0.0
    size = macs(cell.recipe.model, input_hwc=dataset.input_hwc, classes=len(dataset.class_names)) / 1e6
    return post.iterations * RECONSTRUCTION_IMAGES * size * FORWARD_SECONDS_PER_MMAC


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
    config = getattr(recipe.train, f"{phase}_phase")
    batch = config.batch_size
    images = torch.from_numpy(dataset.train_images[:batch]).permute(0, 3, 1, 2).to(device)
    labels = torch.from_numpy(dataset.train_labels[:batch].astype("int64")).to(device)
    distillation: DistillationConfig = recipe.train.qat_phase.distillation
    objective: Objective = TaskObjective(0.0)
    if phase == "qat":
        start_qat(network, images)
        objective = make_objective(distillation, label_smoothing=0.0, partner=partner)
    network.train()
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    times = []
    for _ in range(1 + TIMED_STEPS):
        started = time.perf_counter()
        network.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = objective(network, (images / 255).contiguous(memory_format=torch.channels_last), labels)
        loss.backward()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[TIMED_STEPS // 2] * (COMPILED_SHARE if config.compile else 1.0)
