"""Which variant is the default and why, and one row per rival method that says whether it helps here."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy_grid import Factors, Value
from benchmarks.accuracy_lookup import Results, Seeds
from benchmarks.accuracy_outlier import PLAIN
from benchmarks.accuracy_statistics import NOTHING, half_interval, interval, noise_of_one, paired, shown, table

PLAIN_PTQ = ("ptq-uniform-mse", "ptq-uniform", "ptq-uniform-percentile")  # equal levels, nothing fitted to outputs
FIT_PAGE = "FIT.md"


@dataclass(frozen=True)
class Rival:
    """A method and how it is judged: a factor's value against others of the same factor, at some settings."""

    name: str
    factor: str
    value: str
    against: tuple[str, ...]  # the best of those that were run counts
    settings: tuple[Factors, ...] = ({},)


PTQ_SETTINGS: tuple[Factors, ...] = tuple(
    {"norm": norm, "weight_bits": bits} for norm in (PLAIN, "oabn") for bits in (4, 3)
)
BITS: tuple[Factors, ...] = ({}, {"weight_bits": 3}, {"weight_bits": 2})
QUANTIZERS = {"UniQ": "uniq", "HEQ": "heq", "APoT": "apot", "DKM": "dkm", "LSQ": "lsq", "LSQ+": "lsq-plus"}
RIVALS = (
    Rival("RepAPQ", "quantizer", "ptq-repapq", PLAIN_PTQ, PTQ_SETTINGS),
    Rival("RepAPQ on k-means levels", "quantizer", "ptq-repapq-kmeans", ("ptq-kmeans",), PTQ_SETTINGS),
    Rival("AdaRound", "quantizer", "ptq-adaround", PLAIN_PTQ, PTQ_SETTINGS),
    Rival("AdaRound on k-means levels", "quantizer", "ptq-adaround-kmeans", ("ptq-kmeans",), PTQ_SETTINGS),
    Rival("diagonal split", "quantizer", "ptq-diagonal-split", PLAIN_PTQ, PTQ_SETTINGS),
    Rival(
        "BWRF",
        "wrapper",
        "bwrf",
        ("float",),
        ({}, {"weight_bits": 2}, {"quantizer": "lsq"}, {"quantizer": "lsq", "weight_bits": 2}),
    ),
    Rival(
        "distillation alone",
        "wrapper",
        "float",
        ("none",),
        ({}, {"weight_bits": 2}, {"quantizer": "lsq", "weight_bits": 2}),
    ),
    Rival("distillation, softer and weighed more", "wrapper", "taught", ("float",), BITS),
    Rival("MimicNorm", "norm", "mimic", ("oabn",)),
    Rival("QARepVGG", "norm", "qarep", ("oabn",)),
    Rival(
        "mean-only norm in QAT",
        "qat_norm",
        "mean",
        ("none",),
        (*BITS, {"activation_bits": 4}, {"quantizer": "lsq"}, {"quantizer": "lsq", "weight_bits": 2}),
    ),
    Rival("mean-only norm, its means fixed halfway", "qat_norm", "mean-half", ("mean",), ({}, {"weight_bits": 2})),
    Rival("holding what oscillates", "quantizer", "cluster", ("cluster-no-hold",), BITS),
    Rival("holding what oscillates, LSQ", "quantizer", "lsq", ("lsq-no-hold",), BITS),
    *(Rival(name, "quantizer", value, ("cluster",), BITS) for name, value in QUANTIZERS.items()),
)


@dataclass(frozen=True)
class Comparison:
    """A rival at one setting."""

    setting: str
    against: str
    ours: list[float]
    theirs: list[float]
    differences: list[float]

    def judged(self, noise: float | None) -> str:
        """`helps`, `hurts` or `within noise`; one seed is judged by the spread of the default's seeds."""
        half = half_interval(self.differences)
        half = noise if half is None else half
        mean = statistics.fmean(self.differences)
        if half is None:
            return "one seed, noise unknown"
        return "within noise" if abs(mean) <= half else "helps" if mean > 0 else "hurts"

    def columns(self, noise: float | None) -> list[str]:
        """As part of a table row."""
        pairs = [interval(values) for values in (self.ours, self.theirs)]
        difference = interval(self.differences, sign=True)
        return [self.setting, self.against, str(len(self.differences)), *pairs, difference, self.judged(noise)]


def noise(results: Results) -> float | None:
    """What two single runs may differ by: from the spread of the default's seeds."""
    return noise_of_one(list(results.find().values("top1_validation").values()))


def rivals_section(results: Results, beside: Path) -> str:
    """The table of rivals; `beside` is the page's folder, where the fit benchmark's page stands."""
    found = noise(results)
    rows = [rival_row(results, rival, found) for rival in RIVALS]
    rows.append(cgmq_row(beside))
    yardstick = "not known yet (the default needs two seeds)" if found is None else f"{found:.2f} points"
    header = ["method", "at", "against", "seeds", "with", "without", "difference", "here it"]
    return "\n\n".join(
        [
            "## Does it help? One row per method",
            "Each method against the best alternative of its kind that was run with the same seeds; what is not named under `at` "
            f"is the default. A difference of one seed counts from {yardstick} on: the 95 % interval for two single runs, from "
            "the spread of the default's seeds. Post-training methods were given 1,024 images without labels; "
            "RepAPQ's affine ends as a scale per output channel, the plain levels beside it have one scale per tensor.",
            table(header, rows),
        ]
    )


def rival_row(results: Results, rival: Rival, found: float | None) -> list[str]:
    """One row; several settings stand one below the other in it."""
    comparisons = list(compared(results, rival))
    if not comparisons:
        states = {
            results.find(**{**setting, rival.factor: rival.value}).state for setting in settings_of(results, rival)
        }
        state = "not run" if "not run" in states else "pruned" if "pruned" in states else "not in the grid"
        if "" in states:
            state = f"run, but not {' or '.join(rival.against)}"
        return [rival.name, *[NOTHING] * 6, f"**{state}**"]
    columns = [comparison.columns(found) for comparison in comparisons]
    at, against, *rest = zip(*columns, strict=True)
    return [rival.name, "<br>".join(at), "<br>".join(dict.fromkeys(against)), *map("<br>".join, rest)]


def settings_of(results: Results, rival: Rival) -> Iterator[Factors]:
    """The rival's settings with the default's own OABN and ClusterQAT in place of the general names."""
    for setting in rival.settings:
        yield {factor: ours(results, factor, value) for factor, value in setting.items()}


def ours(results: Results, factor: str, value: Value) -> Value:
    """`oabn` and `cluster` stand for the variants that are the default."""
    return (
        results.norm
        if (factor, value) == ("norm", "oabn")
        else results.cluster
        if (factor, value) == ("quantizer", "cluster")
        else value
    )


def compared(results: Results, rival: Rival) -> Iterator[Comparison]:
    """A comparison per setting at which both sides were run; equal ones (a setting that is the default) once."""
    seen = []
    for setting in settings_of(results, rival):
        whole = {
            factor: value for factor, value in {**results.grid.default, **setting}.items() if factor != rival.factor
        }
        with_it = results.find(**{**setting, rival.factor: rival.value})
        best = strongest(results, rival, setting, with_it)
        if whole in seen or best is None:
            continue
        seen.append(whole)
        name, without = best
        seeds = [seed for seed in with_it.lines if seed in without.lines]
        mine, others = ({seed: found.lines[seed]["top1_validation"] for seed in seeds} for found in (with_it, without))
        named = "default" if not setting else " ".join(_short(factor, value) for factor, value in setting.items())
        yield Comparison(named, name, list(mine.values()), list(others.values()), paired(mine, others))


def strongest(results: Results, rival: Rival, setting: Factors, with_it: Seeds) -> tuple[str, Seeds] | None:
    """The alternative with the best mean over the seeds that it shares with the rival; None where none shares one."""
    candidates = []
    for value in rival.against:
        choice = ours(results, rival.factor, value)
        found = results.find(**{**setting, rival.factor: choice})
        shared = [line["top1_validation"] for seed, line in found.lines.items() if seed in with_it.lines]
        if shared:
            candidates.append((len(shared), statistics.fmean(shared), str(choice), found))
    if not candidates:
        return None
    _, _, name, found = max(candidates, key=lambda candidate: candidate[:2])
    return name, found


def _short(factor: str, value: Value) -> str:
    letter = {"weight_bits": "W", "activation_bits": "A"}.get(factor)
    return f"{letter}{value}" if letter else str(value)


def cgmq_row(beside: Path) -> list[str]:
    """CGMQ allocates bits: its comparison is the fit benchmark's."""
    if (beside / FIT_PAGE).is_file():
        return ["CGMQ", "bits per layer", "exact, greedy, uniform", *[NOTHING] * 4, f"see [{FIT_PAGE}]({FIT_PAGE})"]
    return ["CGMQ", "bits per layer", "exact, greedy, uniform", *[NOTHING] * 4, "**not run** (`make bench-fit`)"]


def default_section(results: Results) -> str:
    """The default's variants of OABN and ClusterQAT: what the rows say for and against it."""
    default = results.grid.default
    parts = ["## Which variants are the default"]
    for factor, kin in (("norm", "OABN"), ("quantizer", "ClusterQAT")):
        if factor in default:
            parts.append(_decided(results, factor, kin))
    return "\n\n".join(parts)


def variants(results: Results, factor: str) -> list[Value]:
    """The variants of our own method among a factor's values: `oabn…` or `cluster…`."""
    stem = {"norm": "oabn", "quantizer": "cluster"}[factor]
    values = [results.grid.default[factor], *results.grid.star.get(factor, [])]
    return [value for value in dict.fromkeys(values) if str(value).startswith(stem)]


def _decided(results: Results, factor: str, kin: str) -> str:
    """One sentence, then the rows, best first."""
    default, base = results.grid.default[factor], results.find()
    rows, best, measured = [], (default, 0.0), 0
    for value in variants(results, factor):
        found = results.find(**{factor: value})
        differences = paired(found.values("top1_validation"), base.values("top1_validation"))
        measured += bool(differences) and value != default
        if differences and statistics.fmean(differences) > best[1]:
            best = value, statistics.fmean(differences)
        scales = list(found.values("identity_scale_max").values())
        losses = list(results.losses(found).values())
        facts = [shown(list(found.values(key).values())) for key in ("top1_float", "top1_validation")]
        against = NOTHING if value == default else shown(differences, sign=True)
        rows.append([value, len(found.lines), *facts, shown(losses), against, shown(scales), found.state])
    header = ["variant", "seeds", "float", "quantized", "loss", "against default", "max identity scale", "missing"]
    return f"{_sentence(kin, default, best, noise(results), measured if base.lines else None)}\n\n{table(header, rows)}"


def _sentence(kin: str, default: Value, best: tuple[Value, float], found: float | None, measured: int | None) -> str:
    if measured is None:
        return f"{kin}: the default is `{default}`; its cell was not run yet."
    if not measured:
        return f"{kin}: the default is `{default}`; none of its variants was run yet."
    if best[0] == default:
        return f"{kin}: the default is `{default}`; none of the {measured} variants measured here is better."
    judged = (
        "noise unknown"
        if found is None
        else "within the noise of one seed"
        if best[1] <= found
        else "beyond the noise of one seed"
    )
    return f"{kin}: the default is `{default}`; by these rows `{best[0]}` is better by {best[1]:.2f} points, {judged}."


def summary_lines(results: Results) -> Sequence[str]:
    """The sentences of `default_section`, for the first screen."""
    found = [
        _decided(results, factor, kin)
        for factor, kin in (("norm", "OABN"), ("quantizer", "ClusterQAT"))
        if factor in results.grid.default
    ]
    return [text.partition("\n")[0] for text in found]
