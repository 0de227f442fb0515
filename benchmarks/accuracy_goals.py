"""What issue and design promise of the methods, as rows: the goal, what was measured, whether it is reached."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.accuracy_grid import Value
from benchmarks.accuracy_lookup import SPLITS, Results, Seeds
from benchmarks.accuracy_outlier import PLAIN, float_nets
from benchmarks.accuracy_statistics import (
    NOTHING,
    Verdict,
    at_most,
    half_interval,
    interval,
    lower_end_above,
    noise_of_one,
    paired,
    shown,
    table,
)

FLOAT_COST = 0.2
LOSSES = ((4, 8, 0.3), (3, 8, 0.7), (2, 8, 1.5), (4, 4, 0.7))  # weight bits, activation bits, points
BEHIND = -0.3  # lower end of the interval of ClusterQAT − best uniform
FEW_BITS = (4, 3, 2)
OF_WIDTHS = ("quantizer", "weight_bits", "activation_bits")  # factors that `other_losses` leaves alone
UNIFORM = ("lsq", "lsq-plus", "uniq", "heq")


@dataclass(frozen=True)
class Goal:
    """One row of the summary."""

    claim: str
    measured: str
    where: str
    verdict: Verdict | None
    missing: str = ""
    is_report: bool = False  # a number without a goal

    @property
    def row(self) -> list[str]:
        """As a table row; a goal without measurement says so."""
        unknown = NOTHING if self.is_report else "**not measured**"
        verdict = str(self.verdict) if self.verdict is not None else unknown
        return [
            self.claim,
            self.measured or NOTHING,
            self.where,
            verdict + (f" ({self.missing})" if self.missing else ""),
        ]


def method_goals(results: Results) -> list[Goal]:
    """OABN's cost, ClusterQAT's losses, ClusterQAT against uniform steps."""
    return [
        float_cost(results),
        *(loss_goal(results, *limits) for limits in LOSSES),
        *(against_uniform(results, b) for b in FEW_BITS),
    ]


def float_cost(results: Results) -> Goal:
    """Plain BN − OABN of the float nets."""
    found = {norm: float_nets(results, norm) for norm in (PLAIN, results.norm)}
    pairs = paired(found[PLAIN].values("top1_float"), found[results.norm].values("top1_float"))
    missing = "; ".join(f"{norm}: {seeds.state}" for norm, seeds in found.items() if seeds.state)
    return Goal(
        f"OABN costs at most {FLOAT_COST} points in float",
        f"{interval(pairs, sign=True)} points" if pairs else "",
        _where("validation", pairs),
        at_most(pairs, FLOAT_COST),
        missing,
    )


def our_cells(results: Results, weight_bits: int, activation_bits: int = 8, epochs: int | None = None) -> Seeds:
    """ClusterQAT on OABN at a width, after the default's QAT epochs or others."""
    schedule = {} if epochs is None else {"qat_epochs": epochs}
    return results.claimed(
        norm=results.norm,
        quantizer=results.cluster,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        **schedule,
    )


def longest_measured(results: Results, weight_bits: int, activation_bits: int) -> Seeds:
    """The cells of the longest QAT schedule of which two seeds have a loss; the default's where none has."""
    for epochs in reversed(results.schedules):
        seeds = our_cells(results, weight_bits, activation_bits, epochs)
        if len(results.losses(seeds)) > 1:
            return seeds
    return our_cells(results, weight_bits, activation_bits)


def loss_goal(results: Results, weight_bits: int, activation_bits: int, limit: float) -> Goal:
    """Loss of ClusterQAT on OABN after the longest schedule; on the test split once every finished seed was measured there."""
    seeds = longest_measured(results, weight_bits, activation_bits)
    on_test = results.losses(seeds, "test")
    split = "test" if seeds.lines and len(on_test) == len(seeds.lines) else "validation"
    losses = list((on_test if split == "test" else results.losses(seeds)).values())
    missing = seeds.state or ("" if len(losses) == len(seeds.lines) else "float references not run")
    return Goal(
        f"ClusterQAT on OABN loses at most {limit} points at W{weight_bits}A{activation_bits}",
        f"{interval(losses)} points" if losses else "",
        _where(split, losses) + _after(seeds, losses),
        at_most(losses, limit, noise_of_one(list(our_cells(results, 4).values("top1_validation").values()))),
        missing,
    )


def loss_table(results: Results) -> str:
    """Behind the losses: every accuracy on both splits."""
    rows = []
    for (weight_bits, activation_bits, limit), epochs in itertools.product(LOSSES, results.schedules):
        seeds = our_cells(results, weight_bits, activation_bits, epochs)
        name = f"W{weight_bits}A{activation_bits}"
        for split, (of_float, of_cell) in SPLITS.items():
            judged = results.judged(seeds, split)
            losses = [reference - quantized for reference, quantized in judged.values()]
            trained_on = {s: r for s, r in ((s, results.trained_on(line)) for s, line in seeds.lines.items()) if r}
            columns = [
                list(seeds.values(of_float).values()),
                [line[of_cell] for line in trained_on.values() if of_cell in line],
                [reference for reference, _ in judged.values()],
                list(seeds.values(of_cell).values()),
            ]
            verdict = at_most(losses, limit) or seeds.state or "not measured"
            measured = [*map(shown, columns), shown(losses)]
            rows.append([name, epochs, split, len(losses), *measured, limit, verdict])
    header = [
        "",
        "QAT epochs",
        "split",
        "seeds",
        "float net",
        "trained on",
        "reference",
        "quantized",
        "loss",
        "goal",
        "",
    ]
    return table(header, rows)


def other_losses(results: Results) -> str:
    """The losses of the star's default, if the claims are of another, and where one factor differs from it.

    Only rows of two seeds or more with their own float reference.
    """
    star, claims = results.grid.star, results.grid.claims
    choices = [(factor, value) for factor in star if factor not in OF_WIDTHS for value in star[factor]]
    choices = [*((factor, results.grid.default[factor]) for factor in claims), *choices]
    choices = [(factor, value) for factor, value in choices if claims.get(factor) != value]
    rows = []
    for (factor, value), (weight_bits, activation_bits, limit), split in itertools.product(choices, LOSSES, SPLITS):
        seeds = results.find(**{factor: value}, weight_bits=weight_bits, activation_bits=activation_bits)
        judged = results.judged(seeds, split).values()
        if len(judged) > 1:
            losses = [reference - quantized for reference, quantized in judged]
            columns = [[reference for reference, _ in judged], [quantized for _, quantized in judged], losses]
            choice, width = f"{factor} {value}", f"W{weight_bits}A{activation_bits}"
            rows.append([choice, width, split, len(losses), *map(shown, columns), limit, at_most(losses, limit)])
    return table(["choice", "", "split", "seeds", "reference", "quantized", "loss", "goal", ""], rows)


def best_uniform(results: Results, weight_bits: int) -> tuple[str | None, Seeds]:
    """The uniform quantizer to beat: the best mean among those with the most seeds in common with ClusterQAT."""
    ours = our_cells(results, weight_bits).lines
    found = {name: results.claimed(norm=results.norm, quantizer=name, weight_bits=weight_bits) for name in UNIFORM}
    common = {name: [seed for seed in seeds.lines if seed in ours] for name, seeds in found.items()}
    most = max(map(len, common.values()), default=0)
    if not most:
        return None, Seeds()
    means = {
        name: statistics.fmean(found[name].lines[seed]["top1_validation"] for seed in seeds)
        for name, seeds in common.items()
        if len(seeds) == most
    }
    best = max(means, key=lambda name: means[name])
    return best, found[best]


def against_uniform(results: Results, weight_bits: int) -> Goal:
    """ClusterQAT − the best uniform quantizer."""
    ours = our_cells(results, weight_bits)
    name, theirs = best_uniform(results, weight_bits)
    pairs = paired(ours.values("top1_validation"), theirs.values("top1_validation"))
    half = f", lower end {_lower(pairs):+.2f}" if len(pairs) > 1 else ""
    missing = ours.state or ("" if name else "no uniform quantizer was run") or ("" if len(pairs) > 1 else "one seed")
    return Goal(
        f"W{weight_bits}: ClusterQAT − best uniform quantizer, lower end above {BEHIND}",
        f"{interval(pairs, sign=True)} against {name}{half}" if pairs else "",
        _where("validation", pairs),
        lower_end_above(pairs, BEHIND),
        missing,
    )


def uniform_table(results: Results) -> str:
    """ClusterQAT against every uniform quantizer at every width, also those with few seeds."""
    rows = []
    for bits in FEW_BITS:
        ours, best = our_cells(results, bits).values("top1_validation"), best_uniform(results, bits)[0]
        for name in UNIFORM:
            seeds = results.claimed(norm=results.norm, quantizer=name, weight_bits=bits)
            pairs = paired(ours, seeds.values("top1_validation"))
            shared = (
                [
                    interval([values[s] for s in ours if s in seeds.lines])
                    for values in (ours, seeds.values("top1_validation"))
                ]
                if pairs
                else [NOTHING] * 2
            )
            marked = name + (" (the one to beat)" if name == best else "")
            rows.append([f"W{bits}", marked, len(pairs), *shared, shown(pairs, sign=True), seeds.state])
    return table(["", "uniform quantizer", "seeds", str(results.cluster), "uniform", "difference", "missing"], rows)


def _lower(values: Sequence[float]) -> float:
    return statistics.fmean(values) - (half_interval(values) or 0.0)


def _after(seeds: Seeds, losses: Sequence[float]) -> str:
    """The QAT epochs of the cells, where there is a loss."""
    return f", {next(iter(seeds.lines.values()))['epochs']} QAT epochs" if losses else ""


def _where(split: str, values: Sequence[Value]) -> str:
    return f"{split}, {len(values)} seed{'s' if len(values) != 1 else ''}" if values else NOTHING
