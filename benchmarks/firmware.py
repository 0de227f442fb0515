"""Firmware of whole nets on emulated cores: every test image on the Cortex-M4, 500 on the others, logit by logit.

    python -m benchmarks.firmware FOLDER… [--images 10000] [--others 500] [--target cortex-m4 …] [--prefer speed]

FOLDER is a run (`runs/cifar10-m`), a quantized net of the zoo (`zoo/cifar10-m-w4a8`) or any folder with
`integer_model.safetensors`, in it or in its `convert/`. Images and logits come from the `vectors.npz` beside the model;
without one, from the CIFAR-10 test set and the numpy reference.
Images run in chunks, two emulators side by side; a chunk that is done is kept in the work folder, so that an interrupted
run goes on. Writes `benchmarks/results/firmware.json` and `benchmarks/FIRMWARE.md`; rows of other nets stay in both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.firmware_tables import markdown
from benchmarks.provenance import commit, tool_versions
from convert.integer_model import IntegerModel
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import load_integer_model
from convert.kernels import Prefer
from convert.reference import predict, run
from convert.vectors import FILE_NAME as VECTORS_FILE
from convert.vectors import Vectors, load_vectors, save_vectors
from deploy.cortex_m import deploy_cortex_m
from deploy.exactness import Exactness, compare_logits
from deploy.firmware_run import run_images
from deploy.result import ConvertedModel
from deploy.targets import CortexMTarget, load_target
from train.artefact import sha256_file, write_json, write_text
from train.config import DataConfig
from train.dataset import load_dataset
from train.errors import ArtefactError, ConfigError

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "firmware.json"
PAGE = HERE / "FIRMWARE.md"
WHOLE_TARGET = "cortex-m4"  # runs the whole test set
TARGETS = (WHOLE_TARGET, "cortex-m7", "cortex-m33", "cortex-m55")
CHUNK = 250  # images of one emulator run
PROCESSES = 2


@dataclass(frozen=True)
class Chunk:
    """What a finished chunk says; `saturated` counts reference logits at the ends of int8, `correct` predictions.

    `stack_used_bytes` is the watermark, by the paint that is left on the stack.
    """

    images: int
    compared: int
    mismatched: int
    saturated: int
    correct: int
    stack_used_bytes: int


def main() -> None:
    """Run every net on every target, write both files, exit 1 where a logit differs."""
    options = _options()
    record = json.loads(options.out.read_text()) if options.out.is_file() else {}
    rows = {(row["net"], row["target"]): row for row in record.get("rows", [])}
    for folder in options.folders:
        most = max(options.images if name == WHOLE_TARGET else options.others for name in options.target)
        converted = load_net(folder, options.work, options.data_dir, images=most)
        for name in options.target:
            images = options.images if name == WHOLE_TARGET else options.others
            work = options.work / folder.name / name
            row = measure(converted, _cortex_m(name), work, images=images, prefer=options.prefer)
            rows[folder.name, name] = {"net": folder.name, **row}
            made = {"command": "make bench-firmware", "commit": commit(), "tools": tool_versions()}
            write_json(options.out, made | {"rows": [rows[key] for key in sorted(rows)]})
            write_text(options.page, markdown([rows[key] for key in sorted(rows)]))
    sys.stdout.write(f"{len(rows)} rows in {options.out}, table in {options.page}\n")
    if any(row["mismatches"] for row in rows.values()):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--images", type=int, default=10000, help=f"on {WHOLE_TARGET} (default: 10000)")
    parser.add_argument("--others", type=int, default=500, metavar="IMAGES", help="on the others (default: 500)")
    parser.add_argument("--target", nargs="+", default=list(TARGETS), help=f"default: {' '.join(TARGETS)}")
    parser.add_argument("--prefer", choices=("speed", "ram", "flash"), default="speed")
    parser.add_argument("--data-dir", type=Path, help="data sets (default: $REPEDGE_DATA, then ./data)")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-firmware")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def load_net(folder: Path, work: Path, data_dir: Path | None, *, images: int) -> ConvertedModel:
    """The integer model of a folder with its test vectors; where there are none, `images` of them are made once, in `work`."""
    found = [place for place in (folder / "convert", folder) if (place / MODEL_FILE).is_file()]
    if not found:
        raise ArtefactError(f"{folder}: no {MODEL_FILE} in it nor in its convert/; run repedge convert, or name a run")
    model = load_integer_model(found[0] / MODEL_FILE)
    if (found[0] / VECTORS_FILE).is_file():
        return ConvertedModel(found[0], model, load_vectors(found[0] / VECTORS_FILE))
    kept = work / folder.name / f"{sha256_file(found[0] / MODEL_FILE)[:16]}-{images}-{VECTORS_FILE}"
    if not kept.is_file():
        save_vectors(_cifar10_vectors(model, data_dir, images), kept)
    return ConvertedModel(found[0], model, load_vectors(kept))


def _cifar10_vectors(model: IntegerModel, data_dir: Path | None, count: int) -> Vectors:
    dataset = load_dataset(DataConfig(name="cifar10"), data_dir)
    images, labels = dataset.test_images[:count], dataset.test_labels[:count]
    return Vectors(images, labels.astype(np.uint8), run(model, images))


def _cortex_m(name: str) -> CortexMTarget:
    target = load_target(name)
    if not isinstance(target, CortexMTarget):
        raise ConfigError(f"--target {name}: it is no Cortex-M; allowed are those of `repedge targets --core cortex-m`")
    return target


def measure(
    converted: ConvertedModel, target: CortexMTarget, work: Path, *, images: int, prefer: Prefer = "speed"
) -> dict[str, Any]:
    """One row: the facts of the firmware, and how its logits over the first `images` vectors compare with the reference."""
    vectors = converted.vectors.first(images)
    entry = deploy_cortex_m(converted, target, work / "deploy", images=1, prefer=prefer).target or {}
    elf = work / "deploy" / "build" / "repedge.elf"
    starts = range(0, len(vectors.images), CHUNK)
    with ThreadPoolExecutor(PROCESSES) as pool:
        chunks = list(pool.map(partial(_chunk, target, elf, vectors, work / f"chunks-{sha256_file(elf)[:16]}"), starts))
    total = {key: sum(asdict(chunk)[key] for chunk in chunks) for key in asdict(chunks[0])}
    return {
        "target": target.name,
        "core": target.core,
        "prefer": prefer,
        "images": total["images"],
        "logits_compared": total["compared"],
        "mismatches": total["mismatched"],
        "saturated_share": round(total["saturated"] / total["compared"], 5),
        "top1": round(100 * total["correct"] / total["images"], 2),
        "stack_used_bytes": max(chunk.stack_used_bytes for chunk in chunks),
        "stack_bound_bytes": entry["stack_bound_bytes"]["program"],
        **_firmware_facts(entry),
    }


def _chunk(target: CortexMTarget, elf: Path, vectors: Vectors, folder: Path, start: int) -> Chunk:
    """Images `start` … `start + CHUNK − 1`, or what is known of them already. The folder belongs to one ELF file."""
    own = slice(start, start + CHUNK)
    part = Vectors(vectors.images[own], vectors.labels[own], vectors.logits[own])
    done = folder / f"{start:05d}-{len(part.images)}.json"
    if not done.is_file():
        logits, said = run_images(target, elf, folder / f"{start:05d}", vectors=part)
        compared = compare_logits(part.logits, logits)
        correct = int((predict(logits) == part.labels).sum())
        write_json(done, asdict(_summary(compared, correct, said.stack_used_bytes)))
        sys.stderr.write(f"{target.name}: images {start} to {start + len(part.images)}\n")
    return Chunk(**json.loads(done.read_text()))


def _summary(compared: Exactness, correct: int, stack: int) -> Chunk:
    saturated = round(compared.saturated_share * compared.logits_compared)
    return Chunk(compared.images, compared.logits_compared, compared.logits_mismatched, saturated, correct, stack)


def _firmware_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the table, from the target's entry of a report."""
    kernels: Sequence[str] = [layer["kernel"] for layer in entry["layers"]]
    return {
        "macs": sum(layer["macs"] for layer in entry["layers"]),
        "instructions": entry["instructions"],
        "instructions_mean": entry["instructions_mean"],
        "cycles_estimated": entry["cycles_estimated"],
        "latency_ms_estimated": entry["latency_ms_estimated"],
        "flash_bytes": entry["flash_bytes"],
        "ram_bytes": entry["ram_bytes"],
        "peak_ram_bytes": entry["peak_ram_bytes"],
        "kernel_code_bytes": entry["kernel_code_bytes"]["total"],
        "kernels": sorted(set(kernels)),
    }


if __name__ == "__main__":
    main()
