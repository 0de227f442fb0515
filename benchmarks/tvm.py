"""Instructions per inference of the TVM libraries on ARM Linux cores, beside TensorFlow Lite's runtimes with XNNPACK.

    python -m benchmarks.tvm [--run runs/cifar10-xs …] [--size m …] [--cpu cortex-a53 …]

Everything runs on one thread under user-mode QEMU and is counted by the same plugin in the same way: the total of 11
inferences less that of 1, over 10. Writes `benchmarks/results/tvm.json` and `benchmarks/TVM.md`; exit code 1 where a
logit differs from the reference or a net needs more instructions than the better peer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tvm_peers
from benchmarks.tvm_tables import markdown
from convert.reference import predict, quantize_images, run
from convert.tflite_exact import FILE_NAME as TFLITE_NAME
from convert.tflite_exact import write_tflite
from convert.tvm_module import write_tvm_module
from convert.vectors import Vectors
from deploy.cortex_a import deploy_cortex_a
from deploy.emulator import build_plugin, run_user
from deploy.result import ConvertedModel, load_converted
from deploy.targets import CortexATarget, load_target
from deploy.tool import find_tool
from deploy.tvm_build import IMAGES_NAME, LOGITS_NAME, RUNNER_NAME, write_images
from tests.random_models import random_images, random_model
from train.artefact import write_json, write_text
from train.layout import SIZES

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "tvm.json"
PAGE = HERE / "TVM.md"
IMAGE_HWC = (32, 32, 3)
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
    parser.add_argument("--run", nargs="*", type=Path, default=None, help="run folders (default: runs/cifar10-*)")
    parser.add_argument("--size", nargs="*", choices=list(SIZES), default=["s", "m"], help="sizes with random weights")
    parser.add_argument("--cpu", nargs="+", default=list(CPUS), help="targets of kind cortex_a, AArch64")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-tvm", help="build folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    root = tvm_peers.set_up(options.work / "aarch64", Path(sys.executable).with_name("pip"))
    runs = sorted((HERE.parent / "runs").glob("cifar10-*")) if options.run is None else options.run
    nets = [_net_of_run(folder) for folder in runs]
    nets += [_random_net(size, options.work / f"random-{size}") for size in options.size]
    rows = [_measure(net, cpu, root, options.work) for net in nets for cpu in options.cpu]
    record = {"command": "make bench-tvm", "commit": _output(["git", "-C", str(HERE), "rev-parse", "HEAD"]).strip()}
    record["emulator"] = _output([str(find_tool("qemu-aarch64")), "--version"]).splitlines()[0]
    write_json(options.out, record | {"aarch64_files_sha256": tvm_peers.versions(root), "rows": rows})
    write_text(options.page, markdown(rows))
    sys.stdout.write(f"{len(rows)} rows in {options.out}, table in {options.page}\n")
    sys.exit(any(row["logits_mismatched"] or row["ratio"] > 1 for row in rows))


def _net_of_run(folder: Path) -> Net:
    return Net(folder.name, load_converted(folder / "convert"), folder / "convert" / TFLITE_NAME)


def _random_net(size: str, folder: Path) -> Net:
    """The shape of a named size with random 4-bit codebooks, the first layer 8-bit, as the recipes have it."""
    layout = SIZES[size]
    widths = [width for width, depth in zip(layout.widths, layout.depths, strict=True) for _ in range(depth)]
    strides = [
        stride if block == 0 else 1
        for stride, depth in zip(layout.strides, layout.depths, strict=True)
        for block in range(depth)
    ]
    bits = (8, *(4 for _ in widths[1:]))
    model = random_model(7, input_hwc=IMAGE_HWC, widths=tuple(widths), strides=tuple(strides), bit_widths=bits)
    write_tvm_module(model, folder)
    write_tflite(model, folder / TFLITE_NAME)
    images = random_images(np.random.default_rng(8), IMAGES, IMAGE_HWC)
    logits = run(model, images)
    vectors = Vectors(images, predict(logits).astype(np.uint8), logits)
    return Net(f"{size}, random weights", ConvertedModel(folder, model, vectors), folder / TFLITE_NAME)


def _measure(net: Net, cpu: str, root: Path, work: Path) -> dict[str, Any]:
    target = load_target(cpu)
    assert isinstance(target, CortexATarget)
    folder = work / "out" / net.name.replace(", ", "-").replace(" ", "-") / cpu
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


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
