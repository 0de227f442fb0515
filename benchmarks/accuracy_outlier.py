"""The outlier and its repair: plain BN against OABN over paired seeds, in kernels and in accuracy, and curves over bits."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.accuracy_grid import Value
from benchmarks.accuracy_lookup import Line, Results, Seeds
from benchmarks.accuracy_statistics import NOTHING, paired, shown, table

PLAIN = "bn"
WIDTHS = (8, 6, 4, 3, 2)
LEVELS = {
    "ptq-uniform": "PTQ, uniform",
    "ptq-kmeans": "PTQ, k-means",
    "cluster": "QAT, ClusterQAT",
    "lsq": "QAT, LSQ",
}
MUON_ROWS = (("ptq-uniform", 4), ("ptq-kmeans", 4), ("cluster", 4), ("cluster", 2))
SHAPES_FLOAT = ("size", "optimizer")  # factors beside the norm that a float net depends on
KERNELS: tuple[tuple[str, Callable[[Line], float | None]], ...] = (
    ("max identity ratio, γ/σ before any bound", lambda line: line.get("identity_ratio_max")),
    ("max identity scale, as merged", lambda line: line.get("identity_scale_max")),
    ("largest kurtosis of a merged kernel", lambda line: max(line.get("kurtosis", {}).values(), default=None)),
    ("largest max abs W / deviation", lambda line: max(line.get("peak", {}).values(), default=None)),
)


def outlier_section(results: Results) -> str:
    """The table of the claim, kurtosis layer by layer, then the claim once more where Muon trains the float net."""
    header = ["", "seeds", PLAIN, str(results.norm), f"{results.norm} − {PLAIN}", "missing"]
    rows = [*kernel_rows(results), *(accuracy_row(results, q, bits) for q in LEVELS for bits in WIDTHS)]
    parts = [
        f"## The outlier repaired: {PLAIN} against {results.norm}",
        "Differences are paired over seeds. Accuracies on the validation split.",
        table(header, rows),
        "Kurtosis of every layer's merged kernel (3 = normally distributed):",
        kurtosis_table(results),
    ]
    if "optimizer" in results.grid.default:
        muon: dict[str, Value] = {"optimizer": "muon"}
        rows = [*kernel_rows(results, **muon), *(accuracy_row(results, q, bits, **muon) for q, bits in MUON_ROWS)]
        parts += ["The same where Muon trains the float net:", table(header, rows)]
    return "\n\n".join(parts)


def float_nets(results: Results, norm: Value, **choice: Value) -> Seeds:
    """One line per seed of a norm (and a choice of what shapes float nets), whatever its quantizer: cells of one seed share their float net."""
    wanted = {factor: results.grid.default[factor] for factor in SHAPES_FLOAT if factor in results.grid.default}
    wanted |= {**choice, "norm": norm}
    lines: dict[Value, Line] = {}
    for line in results.lines:
        if all(line.get(factor) == value for factor, value in wanted.items()) and "top1_float" in line:
            lines.setdefault(line.get("seed", 0), line)
    if lines:
        return Seeds(lines)
    found = results.find(norm=norm, **choice)
    return Seeds({}, found.pruned, found.missing)


def kernel_rows(results: Results, **choice: Value) -> list[list[str]]:
    """What the kernels of both norms show, and the float nets' accuracy."""
    facts = [kernel_row(results, name, measure, **choice) for name, measure in KERNELS]
    return [*facts, float_row(results, **choice)]


def kernel_row(results: Results, name: str, measure: Callable[[Line], float | None], **choice: Value) -> list[str]:
    """One fact of the kernels under both norms."""
    found = [float_nets(results, norm, **choice) for norm in (PLAIN, results.norm)]
    values = [
        {seed: value for seed, line in seeds.lines.items() if (value := measure(line)) is not None} for seeds in found
    ]
    return _compared(name, values[0], values[1], found)


def float_row(results: Results, **choice: Value) -> list[str]:
    """Accuracy of the float nets under both norms."""
    found = [float_nets(results, norm, **choice) for norm in (PLAIN, results.norm)]
    return _compared("float accuracy", found[0].values("top1_float"), found[1].values("top1_float"), found)


def accuracy_row(results: Results, quantizer: str, bits: int, **choice: Value) -> list[str]:
    """Accuracy at one width under both norms."""
    found = [results.find(norm=norm, quantizer=quantizer, weight_bits=bits, **choice) for norm in (PLAIN, results.norm)]
    values = [seeds.values("top1_validation") for seeds in found]
    return _compared(f"{LEVELS[quantizer]} W{bits}", values[0], values[1], found)


def _compared(name: str, plain: dict[Value, float], ours: dict[Value, float], found: list[Seeds]) -> list[str]:
    pairs = paired(ours, plain)
    norms = ("plain BN", "OABN")
    missing = "; ".join(f"{norm}: {seeds.state}" for norm, seeds in zip(norms, found, strict=True) if seeds.state)
    return [name, str(len(pairs)), *common_means(plain, ours), shown(pairs, sign=True), missing]


def common_means(plain: dict[Value, float], ours: dict[Value, float]) -> list[str]:
    """Both means over the seeds that both have, so that their difference is the paired one; over all where none is shared."""
    common = [seed for seed in plain if seed in ours]
    return [shown([values[seed] for seed in common or values]) for values in (plain, ours)]


def kurtosis_table(results: Results) -> str:
    """A row per layer."""
    found = [float_nets(results, norm) for norm in (PLAIN, results.norm)]
    layers = list(
        dict.fromkeys(name for seeds in found for line in seeds.lines.values() for name in line.get("kurtosis", {}))
    )
    if not layers:
        return "Not run."
    rows = []
    for layer in layers:
        plain, ours = (
            {seed: line["kurtosis"][layer] for seed, line in seeds.lines.items() if layer in line.get("kurtosis", {})}
            for seeds in found
        )
        rows.append([layer, *common_means(plain, ours), shown(paired(ours, plain), sign=True)])
    return table(["layer", PLAIN, str(results.norm), "difference"], rows)


def bit_curves(results: Results) -> dict[str, dict[int, float]]:
    """`norm, quantizer` -> weight bits -> mean accuracy over seeds, where two widths or more were measured."""
    values: dict[str, dict[int, list[float]]] = {}
    free = {"norm", "quantizer", "weight_bits", "seed"}
    for line in results.lines:
        usual = all(line.get(factor) == value for factor, value in results.grid.default.items() if factor not in free)
        if usual and not line["pruned"] and "weight_bits" in line:
            name = ", ".join(str(line[factor]) for factor in ("norm", "quantizer") if factor in line)
            values.setdefault(name, {}).setdefault(int(line["weight_bits"]), []).append(line["top1_validation"])
    means = {name: {bits: statistics.fmean(found) for bits, found in curve.items()} for name, curve in values.items()}
    return {name: curve for name, curve in means.items() if len(curve) > 1}


def curves_table(results: Results) -> str:
    """The curves' numbers."""
    curves = bit_curves(results)
    widths = sorted({bits for curve in curves.values() for bits in curve}, reverse=True)
    rows = [
        [name, *(f"{curve[bits]:.2f}" if bits in curve else NOTHING for bits in widths)]
        for name, curve in sorted(curves.items())
    ]
    return table(["norm, quantizer", *(f"W{bits}" for bits in widths)], rows) if rows else "Not run."
