"""What a training step costs relative to plain BatchNorm2d and LSQ, in one run: paired and interleaved.

    python -m benchmarks.training [--size xs] [--rounds 12] [--batch 128] [--results FILE] [--variants A,B]

Every round times one step (augmentation, forward, backward, optimizer, average) of every variant, in an order that rotates; a
variant's ratio is the median over rounds of its time over the baseline's of the same round, so that what else the machine does
hits both. Images are random; no data set is needed. Goals: OABN <= 1.10 of BN, ClusterQAT <= 1.15 of LSQ.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from repedge.commit import git_commit
from train.artefact import write_json
from train.augment import augment
from train.checkpoint import ModelDescription, build_network
from train.compiling import compile_step
from train.config import AugmentConfig, TrainingRecipe
from train.ema import MovingAverage
from train.evaluate import to_input
from train.objective import make_objective
from train.optimizer import make_optimizer
from train.partner import FloatPartner
from train.phase import PhaseRun
from train.qat import start_qat

HERE = Path(__file__).parent
WARM_UP_ROUNDS = 2
AUGMENT = AugmentConfig(shift_pixels=4, horizontal_flip=True)
CLASSES = tuple("0123456789")


@dataclass(frozen=True)
class Variant:
    """One way to train, and the one that it is compared with."""

    name: str
    baseline: str
    settings: dict[str, Any]
    goal: float | None = None

    @property
    def phase(self) -> str:
        """`float` or `qat`, the first word of the name."""
        return self.name.split()[0]


BF16 = {"precision": "bf16"}
LSQ: dict[str, Any] = {"quantize": {"weights": {"method": "lsq"}, "mean_norm_until": 0.0}}  # as everybody has it
LSQ_NORM: dict[str, Any] = {"quantize": {"weights": {"method": "lsq"}, "mean_norm_until": 1.0}}
CLUSTER: dict[str, Any] = {"quantize": {"weights": {"method": "cluster"}}}
VARIANTS = (
    Variant("float bn", "float bn", {"norm": {"kind": "bn"}}),
    Variant("float oabn", "float bn", {"norm": {"kind": "oabn"}}, goal=1.10),
    Variant("float bn bf16", "float bn", {"norm": {"kind": "bn"}, "phase": BF16}),
    Variant("float oabn bf16", "float bn bf16", {"norm": {"kind": "oabn"}, "phase": BF16}),
    Variant("float bn bf16 compiled", "float bn", {"norm": {"kind": "bn"}, "phase": {**BF16, "compile": True}}),
    Variant(
        "float oabn bf16 compiled",
        "float bn bf16 compiled",
        {"norm": {"kind": "oabn"}, "phase": {**BF16, "compile": True}},
    ),
    Variant("qat bn lsq", "qat bn lsq", {"norm": {"kind": "bn"}, **LSQ}),
    Variant("qat bn lsq mean-norm", "qat bn lsq", {"norm": {"kind": "bn"}, **LSQ_NORM}),
    Variant("qat bn cluster", "qat bn lsq", {"norm": {"kind": "bn"}, **CLUSTER}, goal=1.15),
    Variant("qat oabn lsq", "qat bn lsq", {"norm": {"kind": "oabn"}, **LSQ}, goal=1.10),
    Variant("qat oabn cluster", "qat bn lsq", {"norm": {"kind": "oabn"}, **CLUSTER}),
    Variant(
        "qat bn lsq bwrf", "qat bn lsq", {"norm": {"kind": "bn"}, **LSQ, "phase": {"distillation": {"kind": "bwrf"}}}
    ),
    Variant(
        "qat bn lsq distilled",
        "qat bn lsq",
        {"norm": {"kind": "bn"}, **LSQ, "phase": {"distillation": {"kind": "float"}}},
    ),
)


def make_step(variant: Variant, *, size: str, batch: int) -> Callable[[], None]:
    """A function that trains one step."""
    phases = {
        f"{variant.phase}_phase": {
            "epochs": 1,
            "batch_size": batch,
            "learning_rate": 0.01,
            **variant.settings.get("phase", {}),
        }
    }
    recipe = TrainingRecipe.model_validate(
        {
            "model": {"size": size},
            "train": phases,
            **{key: value for key, value in variant.settings.items() if key in ("norm", "quantize")},
        }
    )
    torch.manual_seed(0)
    description = ModelDescription(
        class_names=CLASSES, input_hwc=(32, 32, 3), model=recipe.model, norm=recipe.norm, quantize=recipe.quantize
    )
    network = build_network(description).to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (batch, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    labels = torch.randint(0, len(CLASSES), (batch,))
    partner = FloatPartner(network)
    if variant.phase == "qat":
        start_qat(network, images)
    network.train()
    config = recipe.train.float_phase if variant.phase == "float" else recipe.train.qat_phase
    objective = make_objective(config.distillation, label_smoothing=0.0, partner=partner)
    optimizer = make_optimizer(network, config, codebook_factor=0.1)
    run = PhaseRun(recipe, network, MovingAverage(network, 0.998), optimizer, objective)
    if config.compile:
        compile_step(network)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        run.train_step(augment(to_input(images), AUGMENT, generator=generator), labels, steps_per_epoch=1)

    return step


def measure(variants: list[Variant], *, size: str, batch: int, rounds: int) -> list[dict[str, Any]]:
    """One row per variant; the first rounds only warm up (and compile)."""
    steps = {variant.name: make_step(variant, size=size, batch=batch) for variant in variants}
    times: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for number in range(WARM_UP_ROUNDS + rounds):
        turn = number % len(variants)
        for variant in variants[turn:] + variants[:turn]:
            started = time.process_time()
            steps[variant.name]()
            if number >= WARM_UP_ROUNDS:
                times[variant.name].append(time.process_time() - started)
    return [row(variant, times) for variant in variants]


def row(variant: Variant, times: dict[str, list[float]]) -> dict[str, Any]:
    """Median milliseconds of CPU time and the paired ratio with its quartiles."""
    ratios = [ours / theirs for ours, theirs in zip(times[variant.name], times[variant.baseline], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = statistics.median(ratios)
    return {
        "variant": variant.name,
        "baseline": variant.baseline,
        "milliseconds": round(1000 * statistics.median(times[variant.name]), 2),
        "ratio": round(ratio, 3),
        "ratio_quartiles": [round(low, 3), round(high, 3)],
        "goal": variant.goal,
        "reached": None if variant.goal is None else ratio <= variant.goal,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [f"{'variant':28}{'ms':>9}{'ratio':>8}  {'quartiles':16}{'of':28}goal"]
    for entry in rows:
        low, high = entry["ratio_quartiles"]
        goal = "" if entry["goal"] is None else f"<= {entry['goal']} {'reached' if entry['reached'] else 'MISSED'}"
        quartiles = f"{low:.3f} – {high:.3f}"
        lines.append(
            f"{entry['variant']:28}{entry['milliseconds']:9.1f}{entry['ratio']:8.3f}  {quartiles:16}{entry['baseline']:28}{goal}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="xs")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--variants", help="names, separated by commas (their baselines are added); default: all")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "training.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # one thread: the ratios do not depend on how idle the other cores are
    names = set(options.variants.split(",")) if options.variants else {variant.name for variant in VARIANTS}
    for _ in range(2):  # a baseline has one itself
        names |= {variant.baseline for variant in VARIANTS if variant.name in names}
    chosen = [variant for variant in VARIANTS if variant.name in names]
    if not chosen:
        print(
            f"error: --variants {options.variants}: none known, allowed are {[v.name for v in VARIANTS]}",
            file=sys.stderr,
        )
        return 2
    rows = measure(chosen, size=options.size, batch=options.batch, rounds=options.rounds)
    print(table(rows))
    facts = {
        "rows": rows,
        "size": options.size,
        "batch": options.batch,
        "rounds": options.rounds,
        "threads": 1,
        "machine": platform.machine(),
        "commit": git_commit(),
        "tool_versions": {"python": platform.python_version(), "torch": torch.__version__},
        "command": "python -m benchmarks.training",
    }
    write_json(options.results, facts)
    print(f"wrote {options.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
