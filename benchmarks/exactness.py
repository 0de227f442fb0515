"""The same integers everywhere: the zoo's quantized nets in every back end, logit by logit against the numpy reference.

    python -m benchmarks.exactness [NAME …] [--images 500] [--target cortex-m4 …]

NAME is a model of the zoo (default: every quantized CIFAR-10 one). Each becomes a run folder in the work folder and goes
through `repedge convert` and `repedge deploy`, as a user's own would: the whole test split on this machine (C, TFLite, TVM,
ONNX), its first `--images` on every emulated target, and Ethos-U compiled, decoded and compared. Stages that are done are
not done again, so an interrupted run goes on. Writes `benchmarks/results/exactness.json` and `benchmarks/EXACTNESS.md`
after each net; rows of other nets stay in both. Exit code 1 where a back end that must be exact is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.exactness_tables import markdown
from benchmarks.provenance import commit
from benchmarks.zoo_nets import zoo_models
from repedge.cli import main as repedge
from repedge.zoo import make_run_folder
from train.artefact import write_json, write_text
from train.errors import ToolFailed
from train.zoo import ZooModel, find_model

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "exactness.json"
PAGE = HERE / "EXACTNESS.md"
EMULATED = (
    *("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "tvm-cortex-m4", "tvm-cortex-m55"),
    *("cortex-a7", "cortex-a53", "cortex-a72", "cortex-a76"),
)
DECODED = ("ethos-u55-128", "ethos-u65-512", "ethos-u85-256")
RUNTIMES = ("tflite_runtime", "litert", "tensorflow", "tflite_aarch64")


def main() -> None:
    """Run every net, write both files, exit 1 where a logit differs that must not."""
    options = _options()
    models = [find_model(name) for name in options.names] or zoo_models()
    record = json.loads(options.out.read_text()) if options.out.is_file() else {}
    nets = {net["net"]: net for net in record.get("nets", [])}
    for model in models:
        report = report_of(model, options)
        nets[model.name] = net_facts(model, report)
        made = {"command": "make prove-zoo", "commit": commit(), "tools": report["tool_versions"]}
        kept = [nets[name] for name in sorted(nets)]
        write_json(options.out, made | {"nets": kept})
        write_text(options.page, markdown(kept))
    differing = sum(row["logits_mismatched"] for net in nets.values() for row in net["rows"] if row["must_be_exact"])
    sys.stdout.write(f"{len(nets)} nets in {options.out}, table in {options.page}; {differing} logits differ\n")
    sys.exit(1 if differing else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--images", type=int, default=500, help="on each emulated target (default: 500)")
    parser.add_argument("--target", nargs="+", default=[*EMULATED, *DECODED], help="default: all of them")
    parser.add_argument("--runtimes", nargs="*", default=list(RUNTIMES), help="TFLite runtimes beside the reference")
    parser.add_argument("--data-dir", type=Path, help="data sets (default: $REPEDGE_DATA, then ./data)")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "prove-zoo", help="folder of the runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def report_of(model: ZooModel, options: argparse.Namespace) -> dict[str, Any]:
    """The report of a net's run, whose stages are done where they are not."""
    run: Path = options.work / model.name
    make_run_folder(model.name, run, force=True)
    stage = [str(run / "recipe.yaml"), "--out", str(run)]
    if options.data_dir is not None:
        stage += ["--data-dir", str(options.data_dir)]
    settings = {
        "deploy.emulated_images": options.images,
        "deploy.runtimes": json.dumps(options.runtimes),
        "deploy.baselines": json.dumps(["onnx2tf_int8"]),
    }
    own = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    for command in (["convert", *stage, *own], ["deploy", *stage, *own, "--target", ",".join(options.target)]):
        if code := repedge(command):
            raise ToolFailed(f"{model.name}: repedge {command[0]} ended with {code}, 0 is allowed; see its message")
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def net_facts(model: ZooModel, report: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of one net: a row per back end, what each target needs, and the Ethos-U targets that were decoded."""
    exact = [_row(name, report, "exactness", must_be_exact=True) for name in report["exactness"]]
    other = [_row(name, report, "runtimes", must_be_exact=False) for name in report["runtimes"]]
    decoded = [name for name, target in report["targets"].items() if target["kind"] == "ethos_u"]
    baselines = {name: report["accuracy"][name] for name in ("numpy", "onnx2tf_int8") if name in report["accuracy"]}
    return {
        "net": model.name,
        "model_sha256": model.sha256,
        "data_sha256": model.data_sha256,
        "rows": [*exact, *other],
        "decoded": decoded,
        "targets": [_target(name, target) for name, target in report["targets"].items()],
        "accuracy": baselines,
        "notices": [text for text in report["notices"] if text.startswith("onnx2tf_int8")],
    }


def _target(name: str, target: Mapping[str, Any]) -> dict[str, Any]:
    """Bytes and instructions are exact, cycles estimated; an NPU's instructions are not counted."""
    return {
        "target": name,
        "backend": target["backend"],
        "flash_bytes": target["flash_bytes"]["total"],
        "ram_bytes": target["ram_bytes"]["total"],
        "instructions": target["instructions"],
        "cycles_estimated": target["cycles_estimated"],
    }


def _row(name: str, report: Mapping[str, Any], part: str, *, must_be_exact: bool) -> dict[str, Any]:
    accuracy = report["accuracy"].get(name)
    return {
        "backend": name,
        "must_be_exact": must_be_exact,
        **report[part][name],
        "top1": accuracy["top1"] if accuracy else None,
    }


if __name__ == "__main__":
    main()
