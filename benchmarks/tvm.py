"""Instructions per inference of the TVM libraries on ARM Linux cores, beside TensorFlow Lite's runtimes with XNNPACK.

    python -m benchmarks.tvm [FOLDER …] [--cpu cortex-a53 …]

FOLDER is a run or a quantized net of the zoo (default: every CIFAR-10 one of the zoo). Everything runs on one thread under
user-mode QEMU and is counted by the same plugin in the same way: the total of 11 inferences less that of 1, over 10.
Writes `benchmarks/results/tvm.json` and `benchmarks/TVM.md` after each net; where nets are named, rows of others stay.
Exit code 1 where a logit differs from the reference or a net needs more instructions than the better peer.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tvm_peers
from benchmarks.provenance import commit, tool_versions
from benchmarks.tvm_tables import markdown
from benchmarks.zoo_nets import converted_net, zoo_folders
from convert.reference import quantize_images
from convert.tflite_exact import FILE_NAME as TFLITE_NAME
from deploy.cortex_a import deploy_cortex_a
from deploy.emulator import build_plugin, run_user
from deploy.result import ConvertedModel
from deploy.targets import CortexATarget, load_target
from deploy.tvm_build import IMAGES_NAME, LOGITS_NAME, RUNNER_NAME, write_images
from train.artefact import write_json, write_text

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "tvm.json"
PAGE = HERE / "TVM.md"
CPUS = ("cortex-a53", "cortex-a72")
IMAGES = 11


@dataclass(frozen=True)
class Net:
    """A converted model to measure and its int8 TFLite file."""

    name: str
    converted: ConvertedModel
    tflite: Path


def main() -> None:
    """Measure, write both files, print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--cpu", nargs="+", default=list(CPUS), help="targets of kind cortex_a, AArch64")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-tvm", help="build folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    root = tvm_peers.set_up(options.work / "aarch64", Path(sys.executable).with_name("pip"))
    found = {(row["net"], row["cpu"]): row for row in kept_rows(options.out)} if options.folders else {}
    for folder in options.folders or zoo_folders():
        converted = converted_net(folder, options.work / "nets", images=IMAGES)
        net = Net(folder.name, converted, converted.folder / TFLITE_NAME)
        for cpu in options.cpu:
            found[net.name, cpu] = _measure(net, cpu, root, options.work)
        rows = sorted(found.values(), key=lambda row: (row["macs"], row["net"], row["cpu"]))
        _write(options, rows, tvm_peers.versions(root))
    sys.stdout.write(f"{len(rows)} rows in {options.out}, table in {options.page}\n")
    sys.exit(any(row["logits_mismatched"] or row["ratio"] > 1 for row in rows))


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run."""
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def _write(options: argparse.Namespace, rows: list[dict[str, Any]], files: dict[str, str]) -> None:
    emulator = tool_versions(("qemu-aarch64",))["qemu-aarch64"]
    made = {"command": "make bench-tvm", "commit": commit(), "emulator": emulator, "aarch64_files_sha256": files}
    write_json(options.out, made | {"rows": rows})
    write_text(options.page, markdown(rows))


def _measure(net: Net, cpu: str, root: Path, work: Path) -> dict[str, Any]:
    target = load_target(cpu)
    assert isinstance(target, CortexATarget)
    folder = work / "out" / net.name / cpu
    plugin = build_plugin(work / "plugin")
    result = deploy_cortex_a(net.converted, target, folder, images=IMAGES)
    assert result.exactness is not None and result.target is not None
    ours = tvm_peers.per_inference([_total(net, target, folder, images, plugin) for images in tvm_peers.RUNS])
    image = quantize_images(net.converted.vectors.images[:1])
    peers = {}
    for peer in tvm_peers.PEERS:
        sys.stderr.write(f"{net.name}, {cpu}: {peer}\n")
        peers[peer], _ = tvm_peers.measure_peer(root, peer, target.cpu, net.tflite, image, folder / peer, plugin)
    return {
        "net": net.name,
        "cpu": cpu,
        "macs": net.converted.model.macs,
        "images": result.exactness.images,
        "logits_mismatched": result.exactness.logits_mismatched,
        "instructions": {"repedge-tvm": ours} | peers,
        "instructions_in_layers": result.target["instructions"],
        "ratio": round(ours / min(peers.values()), 4),
        "ram_bytes": result.target["ram_bytes"]["total"],
        "flash_bytes": result.target["flash_bytes"]["total"],
    }


def _total(net: Net, target: CortexATarget, folder: Path, images: int, plugin: Path) -> int:
    """Instructions of the whole runner over that many images."""
    write_images(folder, net.converted.vectors.images[:images])
    arguments = (IMAGES_NAME, LOGITS_NAME)
    return run_user(target, folder / RUNNER_NAME, arguments, folder, plugin=plugin).counts.instructions


if __name__ == "__main__":
    main()
