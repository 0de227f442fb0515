"""Weights inside each artefact, in bytes and bits per weight, at 8, 4, 3 and 2 bits, beside the project's goals.

    python -m benchmarks.formats [RUN …] [--artefact NAME …]

RUN is the folder of a finished run (or of a net in the zoo). Without one, all quantized CIFAR-10 nets of the zoo are
weighed, and synthetic nets of the sizes xs and m at the widths that no net of the zoo has. Writes
`benchmarks/results/formats.json` and `benchmarks/FORMATS.md`. Every file is read back and compared with the integer model
before its bytes count; a goal that is missed is told, not hidden, and the exit status stays 0.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.format_bytes import ARTEFACTS, ArtefactBytes
from benchmarks.format_nets import Net, run_net, synthetic_net
from benchmarks.format_tables import markdown
from benchmarks.provenance import commit
from benchmarks.zoo_nets import zoo_models
from deploy.targets import PALETTE_ENTRIES
from repedge.doctor import tool_versions
from train.artefact import write_json, write_text
from train.zoo import ZOO

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "formats.json"
PAGE = HERE / "FORMATS.md"
BITS = (8, 4, 3, 2)
SIZES = ("xs", "m")
PACKED_GOAL_BITS, NPU_GOAL_BITS = 0.15, 0.1  # over the layer's bit width
NPU_LAYER_WEIGHTS = 4096


def main() -> None:
    """Measure, write both files, print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--artefact", nargs="+", choices=list(ARTEFACTS), default=list(ARTEFACTS))
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-formats", help="build folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    nets = [run_net(folder) for folder in options.runs] or zoo_nets()
    rows = []
    for net in nets:
        for artefact in options.artefact:
            sys.stderr.write(f"{net.name} W{net.weight_bits}: {artefact}\n")
            rows += measure(net, artefact, options.work / net.name / f"w{net.weight_bits}" / artefact.replace(" ", "-"))
    # folder names, not paths: where the runs lie is this machine's business
    command = " ".join(["python -m benchmarks.formats", *(folder.name for folder in options.runs)])
    record = {"command": command, "commit": commit(), "tools": tool_versions()}
    write_json(options.out, record | {"rows": rows})
    write_text(options.page, markdown(rows, command))
    sys.stdout.write(f"{len(rows)} rows in {options.out}, tables in {options.page}\n")


def zoo_nets() -> list[Net]:
    """The zoo's nets, then xs and m at each width that none of them has, and with codebooks on the int4 grid."""
    models = zoo_models()
    trained = {(model.size, model.weight_bits) for model in models}
    return [
        *(run_net(ZOO / model.name, f"size {model.size}") for model in models),
        *(synthetic_net(size, bits) for size in SIZES for bits in BITS if (size, bits) not in trained),
        *(synthetic_net(size, 4, uniform=True) for size in SIZES),
    ]


def measure(net: Net, artefact: str, folder: Path) -> list[dict[str, Any]]:
    """The row of one artefact; none where the format cannot hold the net."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = ARTEFACTS[artefact](net.model, folder)
    return [] if found is None else [_row(net, artefact, found)]


def _row(net: Net, artefact: str, found: ArtefactBytes) -> dict[str, Any]:
    weights = sum(layer.indices.size for layer in net.model.layers)
    weight_bytes = sum(found.weight_bytes.values())
    layers = [_layer_row(layer, artefact, found.weight_bytes[layer.name]) for layer in net.model.layers]
    return {
        "net": net.name,
        "group": net.group,
        "weight_bits": net.weight_bits,
        "artefact": artefact,
        "weights": weights,
        "weight_bytes": weight_bytes,
        "bits_per_weight": round(8 * weight_bytes / weights, 4),
        "other_constant_bytes": sum(found.other_bytes.values()),
        "file_bytes": found.file_bytes,
        "layers": layers,
    }


def _layer_row(layer: Any, artefact: str, weight_bytes: int) -> dict[str, Any]:
    entries = int(np.unique(layer.indices).size)
    bits = 8 * weight_bytes / layer.indices.size
    goal = goal_bits(artefact, layer.indices.size, layer.bit_width, entries)
    return {
        "name": layer.name,
        "weights": layer.indices.size,
        "input_channels": layer.indices.shape[-1],
        "bit_width": layer.bit_width,
        "codebook_entries": entries,
        "weight_bytes": weight_bytes,
        "bits_per_weight": round(bits, 4),
        "goal_bits_per_weight": goal,
        "within_goal": None if goal is None else bits <= goal,
    }


def goal_bits(artefact: str, weights: int, bit_width: int, entries: int) -> float | None:
    """The goal of one layer in bits per weight, None where there is none.

    >>> goal_bits("firmware cortex-m4", 100, 4, 16), goal_bits("vela ethos-u55-128", 100, 4, 16)
    (4.15, None)
    """
    if artefact.startswith(("firmware", "tvm")):
        return bit_width + PACKED_GOAL_BITS
    if artefact.startswith(("vela ethos-u55", "vela ethos-u65")):
        counts = weights >= NPU_LAYER_WEIGHTS and entries <= PALETTE_ENTRIES
        return bit_width + NPU_GOAL_BITS if counts else None
    return None


if __name__ == "__main__":
    main()
