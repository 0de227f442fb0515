"""Proof that TVM's own aarch64 runtime loads the packed library and gives the reference's logits, under user-mode QEMU.

    python -m benchmarks.tvm_packed zoo/cifar10-xs-w4a8 [--images 500] [--cpu cortex-a53 …]

Writes `benchmarks/results/tvm_packed.json`; exit code 1 where a logit differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import tvm_peers
from benchmarks.provenance import commit
from benchmarks.zoo_nets import converted_net
from convert.reference import quantize_images
from deploy.exactness import compare_logits
from deploy.result import ConvertedModel
from deploy.targets import CortexATarget, load_target
from deploy.tool import run_tool
from deploy.tvm_build import LOGITS_NAME, build_library, cortex_a_target, read_logits
from deploy.tvm_packed import PACKED_NAME
from train.artefact import write_bytes, write_json

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "tvm_packed.json"
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76")
TIMEOUT_S = 3600


def main() -> None:
    """Build, run, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a run, or a quantized net of the zoo")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--cpu", nargs="+", default=list(CPUS), help="targets of kind cortex_a, AArch64")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "bench-tvm", help="build folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    pip = Path(sys.executable).with_name("pip")
    root = tvm_peers.set_up(options.work / "aarch64-tvm", pip, requirements="requirements-tvm.txt")
    converted = converted_net(options.folder, options.work / "nets", images=options.images)
    rows = [_prove(converted, cpu, root, options.work / "packed" / cpu, images=options.images) for cpu in options.cpu]
    made = {"command": "make prove-packed", "commit": commit(), "net": options.folder.name}
    write_json(options.out, made | {"aarch64_files_sha256": tvm_peers.versions(root), "rows": rows})
    sys.stdout.write("".join(f"{row['cpu']}: {row['logits_mismatched']} of {row['logits_compared']}\n" for row in rows))
    sys.exit(any(row["logits_mismatched"] for row in rows))


def _prove(converted: ConvertedModel, cpu: str, root: Path, folder: Path, *, images: int) -> dict[str, Any]:
    target = load_target(cpu)
    assert isinstance(target, CortexATarget)
    build_library(converted, cortex_a_target(target), folder)
    vectors = converted.vectors.first(images)
    write_bytes(folder / "packed_images.bin", quantize_images(vectors.images).tobytes())
    shape = ",".join(str(size) for size in converted.model.input_hwc)
    script: list[str | Path] = [tvm_peers.HERE / "packed.py", f"./{PACKED_NAME}", "packed_images.bin", LOGITS_NAME]
    libraries = f"{root}/site/tvm_ffi/lib:{root}/site/tvm/lib"
    output = run_tool(
        tvm_peers.emulated_python(root, target.cpu, [*script, shape], libraries=libraries),
        cwd=folder,
        log=folder / "packed.log",
        timeout_s=TIMEOUT_S,
        environment={},
    )
    found = compare_logits(vectors.logits, read_logits(folder, len(vectors.images), vectors.logits.shape[1]))
    return {"cpu": cpu, "runtime": output.splitlines()[-1], **found.to_json()}


if __name__ == "__main__":
    main()
