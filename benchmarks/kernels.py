"""Instructions of every convolution kernel on eight layers, exact, under emulation, beside those of public libraries.

    python -m benchmarks.kernels [--core cortex-m4 …] [--bits 4 …]

Writes `benchmarks/results/kernels.json` and `benchmarks/KERNELS.md`. Every output is compared with the reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_cases import PEER_LAYERS, inside_share, parse_layer, random_layer
from benchmarks.kernel_tables import markdown
from benchmarks.provenance import commit, tool_versions
from convert import reference
from convert.integer_model import LayerShape, QuantizedConv
from convert.kernel import KernelChoice
from convert.kernels import conv_choices
from deploy.cycles import Estimate, estimate_cycles
from deploy.disassembly import disassemble
from deploy.kernel_runner import (
    MACHINES,
    KernelCase,
    KernelRunner,
    build_kernel_runner,
    conv_shape,
    profile_kernels,
)
from train.artefact import write_json, write_text

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "kernels.json"
PEERS = HERE / "peer_kernels.json"
PAGE = HERE / "KERNELS.md"
BITS = (8, 4, 3, 2)
SCRATCH_LIMITS = (16 * 1024, 64 * 1024)  # each kernel with its best strip within the first, and within the second
RUNS_TOGETHER = 48
SEED = 1
RANDOM_SHAPES = "random_shapes"


@dataclass(frozen=True)
class Measured:
    """A case and what it must give."""

    layer: str
    shape: LayerShape
    case: KernelCase
    expected: NDArray[np.int8]


def main() -> None:
    """Measure, write both files, print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", nargs="+", choices=list(MACHINES), default=list(MACHINES))
    parser.add_argument("--bits", nargs="+", type=int, choices=range(2, 9), default=list(BITS), metavar="BITS")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-kernels", help="build folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    rows = [row for core in options.core for row in measure_core(core, tuple(options.bits), options.work / core)]
    peers = json.loads(PEERS.read_text())
    record = {"command": "make bench-kernels", "commit": commit(), "tools": tool_versions()}
    shapes = _random_shapes(options.out)
    write_json(options.out, record | {"rows": rows + peers["rows"], RANDOM_SHAPES: shapes})
    write_text(options.page, markdown(rows, peers, shapes))
    sys.stdout.write(f"{len(rows)} rows in {options.out}, tables in {options.page}\n")
    if any(row["mismatches"] for row in rows):
        sys.exit(1)


def _random_shapes(results: Path) -> dict[str, Any] | None:
    """What benchmarks.kernel_shapes wrote into the results; it stays as it is."""
    return json.loads(results.read_text()).get(RANDOM_SHAPES) if results.is_file() else None


def measure_core(core: str, bits: tuple[int, ...], work: Path) -> list[dict[str, Any]]:
    """The rows of one core: every kernel that runs there, every layer, every bit width."""
    runner = build_kernel_runner(core, work)
    measured = [item for bit_width in bits for layer in PEER_LAYERS for item in _measured(core, layer, bit_width)]
    rows = []
    for start in range(0, len(measured), RUNS_TOGETHER):
        rows += _run(runner, measured[start : start + RUNS_TOGETHER], work / f"run{start // RUNS_TOGETHER}")
        sys.stderr.write(f"{core}: {len(rows)} of {len(measured)}\n")
    return rows


def _measured(core: str, layer: str, bit_width: int) -> Iterator[Measured]:
    rng = np.random.default_rng([SEED, bit_width, PEER_LAYERS.index(layer)])
    conv, value = random_layer(rng, parse_layer(layer), bit_width)
    shape = conv_shape(conv, *value.shape[:2])
    expected = reference.convolve(conv, value[None])[0]
    for choice in _choices(core, conv, shape):
        yield Measured(layer, shape, KernelCase(conv, choice, value), expected)


def _choices(core: str, conv: QuantizedConv, shape: LayerShape) -> list[KernelChoice]:
    """Each kernel's best strip within each scratch limit; a kernel that fits none, with its least scratch."""
    chosen: dict[tuple[str, int], KernelChoice] = {}
    choices = conv_choices(conv, shape, core)
    for name in dict.fromkeys(choice.kernel.name for choice in choices):
        own = [choice for choice in choices if choice.kernel.name == name]
        least = min(own, key=lambda choice: choice.scratch_bytes)
        for limit in SCRATCH_LIMITS:
            fitting = [choice for choice in own if choice.scratch_bytes <= limit] or [least]
            best = min(fitting, key=lambda choice: (choice.instructions, choice.scratch_bytes))
            chosen[name, best.strip_channels] = best
    return list(chosen.values())


def _run(runner: KernelRunner, measured: list[Measured], folder: Path) -> list[dict[str, Any]]:
    outputs, profile = profile_kernels(runner, [item.case for item in measured], folder)
    code = disassemble(runner.elf, runner.target.core, folder / "disassembly.txt")
    cycles = estimate_cycles(profile, code, runner.target, len(measured))
    counts = profile.layer_instructions(len(measured))
    return [_row(runner, *facts) for facts in zip(measured, outputs, counts, cycles, strict=True)]


def _row(
    runner: KernelRunner, item: Measured, output: NDArray[np.int8], instructions: int, cycles: Estimate
) -> dict[str, Any]:
    choice = item.case.choice
    return {
        "core": runner.target.core.removeprefix("cortex-"),
        "layer": item.layer,
        "kernel": choice.kernel.name,
        "bits": item.case.conv.bit_width,
        "macs": item.shape.macs,
        "instructions": instructions,
        "instructions_per_mac": round(instructions / item.shape.macs, 4),
        "instructions_estimated": round(choice.instructions),
        "strip_channels": choice.strip_channels,
        "scratch_bytes": choice.scratch_bytes,
        "cycles_estimated": cycles.to_json(),
        "mismatches": int(np.count_nonzero(output != item.expected)),
        "saturated_share": round(1.0 - inside_share(item.case.conv, item.expected), 4),
    }


if __name__ == "__main__":
    main()
