"""Every kernel on random layer shapes and extreme inputs against the reference: on the host and on every emulated core.

    python -m benchmarks.kernel_shapes [--host 12000] [--core-shapes 1000] [--core cortex-m4 …]

Writes `random_shapes` of `benchmarks/results/kernels.json` and the page `benchmarks/KERNELS.md`. The host runs the portable
kernels and the Winograd algorithm in plain C; an emulated core all that are built for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_cases import inside_share
from benchmarks.kernel_tables import markdown
from benchmarks.kernels import HERE, PAGE, PEERS, RANDOM_SHAPES, RESULTS
from benchmarks.provenance import commit, tool_versions
from benchmarks.random_cases import (
    expected,
    extreme_winograd_case,
    random_case,
    random_fully_connected,
    random_pool,
    winograd_case,
)
from convert.kernel import ConvKernel
from convert.kernels import KERNELS
from convert.kernels_portable import PORTABLE
from convert.kernels_winograd import WINOGRAD_KERNELS
from deploy.kernel_runner import (
    HOST,
    MACHINES,
    Case,
    HostRunner,
    KernelCase,
    KernelRunner,
    build_host_runner,
    build_kernel_runner,
)
from train.artefact import write_json, write_text

SEED = 2
RUN_TOGETHER = 1000
EXTREME_SHARE = 0.1  # of the cases have weights and inputs at the ends of their ranges
WINOGRAD_CORES = {HOST} | {core for kernel in WINOGRAD_KERNELS for core in kernel.cores}
WINOGRAD = tuple(kernel for kernel in WINOGRAD_KERNELS if kernel.name in ("dsp_winograd2", "dsp_winograd4"))


def main() -> None:
    """Run all, write both files, exit 1 where an output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=int, default=12000, metavar="SHAPES", help="on the host (default: 12000)")
    parser.add_argument("--core-shapes", type=int, default=1000, metavar="SHAPES", help="per core (default: 1000)")
    parser.add_argument("--core", nargs="*", choices=list(MACHINES), default=list(MACHINES))
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-kernel-shapes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    rows = [check_shapes(HOST, build_host_runner(options.work / HOST), options.host, options.work / HOST / "run")]
    for core in options.core:
        runner = build_kernel_runner(core, options.work / core)
        rows.append(check_shapes(core, runner, options.core_shapes, options.work / core / "run"))
    record = json.loads(options.out.read_text())
    made = {"command": "make bench-kernel-shapes", "commit": commit(), "tools": tool_versions(), "rows": rows}
    write_json(options.out, record | {RANDOM_SHAPES: made})
    own = [row for row in record["rows"] if "peer" not in row]
    write_text(options.page, markdown(own, json.loads(PEERS.read_text()), made))
    sys.stdout.write(f"{RANDOM_SHAPES} in {options.out}, page {options.page}\n")
    if any(row["mismatches"] for row in rows):
        sys.exit(1)


def check_shapes(core: str, runner: HostRunner | KernelRunner, shapes: int, folder: Path) -> dict[str, Any]:
    """One row: how many shapes of each kernel ran, and how many outputs differ from the reference."""
    rng = np.random.default_rng([SEED, *core.encode(), shapes])
    kernels = [PORTABLE] if core == HOST else [kernel for kernel in KERNELS if kernel.runs_on(core)]
    checked = []
    for start in range(0, shapes, RUN_TOGETHER):
        count = min(RUN_TOGETHER, shapes - start)
        cases = [_case(rng, kernels, winograd_too=core in WINOGRAD_CORES) for _ in range(count)]
        outputs = runner.run([case for case, _ in cases], folder)
        checked += [_check(*case, output) for case, output in zip(cases, outputs, strict=True)]
        sys.stderr.write(f"{core}: {start + count} of {shapes}\n")
    inside = [row.inside_share for row in checked if row.inside_share is not None]
    return {
        "core": core,
        "shapes": shapes,
        "distinct_sizes": len({row.sizes for row in checked}),
        "extreme": sum(row.extreme for row in checked),
        "mismatches": sum(row.mismatches for row in checked),
        "outputs": sum(row.outputs for row in checked),
        "inside_clamps_share": round(float(np.mean(inside)), 4),
        "kernels": dict(sorted(Counter(row.name for row in checked).items())),
    }


@dataclass(frozen=True)
class _Checked:
    """One case and its comparison; `inside_share` of convolutions: outputs strictly between the clamps."""

    name: str
    sizes: tuple[object, ...]
    extreme: bool
    mismatches: int
    outputs: int
    inside_share: float | None


def _check(case: Case, extreme: bool, output: NDArray[np.int8]) -> _Checked:
    wanted = expected(case)
    inside = inside_share(case.conv, wanted, case.clamp) if isinstance(case, KernelCase) else None
    sizes = (_name(case), *case.value.shape, *case.output_hwc)
    return _Checked(_name(case), sizes, extreme, int(np.count_nonzero(output != wanted)), wanted.size, inside)


def _case(rng: np.random.Generator, kernels: Sequence[ConvKernel], *, winograd_too: bool) -> tuple[Case, bool]:
    """A pool or a classifier in one of twenty cases each, else a convolution; whether it is an extreme one.

    Winograd kernels take few of all layers, so they get some of their own, with any scratch.
    """
    draw, extreme = rng.random(), bool(rng.random() < EXTREME_SHARE)
    if draw < 0.05:
        return random_pool(rng, extreme=extreme), extreme
    if draw < 0.1:
        return random_fully_connected(rng, extreme=extreme), extreme
    if winograd_too and draw < 0.5:
        kernel = WINOGRAD[int(rng.integers(len(WINOGRAD)))]
        return (extreme_winograd_case(rng, kernel) if extreme else winograd_case(rng, kernel)), extreme
    return random_case(rng, kernels, extreme=extreme), extreme


def _name(case: Case) -> str:
    if isinstance(case, KernelCase):
        return case.choice.kernel.name
    return "fully_connected" if case.layer else "average_pool"


if __name__ == "__main__":
    main()
