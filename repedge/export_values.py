"""What an exported library says of its model: the values of the templates, and the example's image as C."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convert.c_source import c_string
from convert.integer_model import IntegerModel
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.memory_plan import MemoryPlan
from convert.reference import predict
from convert.vectors import Vectors
from deploy.result import ConvertedModel
from repedge.compare import load_report
from repedge.export_kernels import PORTABLE, kernel_summary
from repedge.export_prefix import DEFAULT, runtime_prefix
from train.artefact import sha256_file

VERSION = "1.0.0"
NAME_LENGTH = 32  # CMSIS-Pack's Csub is the shortest of the frameworks' names
PACK_CORES = ("Cortex-M0+", "Cortex-M3", "Cortex-M4", "Cortex-M7", "Cortex-M33", "Cortex-M55")


def export_values(
    run: Path, converted: ConvertedModel, plan: MemoryPlan, core: str, *, prefix: str = DEFAULT
) -> dict[str, str]:
    """Name of a placeholder -> its text, from a run's report, its integer model and the kernels it is exported with."""
    report, model = load_report(run), converted.model
    height, width, channels = model.input_hwc
    accuracy = report["accuracy"]["numpy"]
    name = report["name"].lower() if prefix == DEFAULT else prefix
    slug = re.sub(r"[^a-z0-9]+", "-", f"repedge-{name}")[:NAME_LENGTH].strip("-")
    return {
        "NAME": report["name"],
        "SLUG": slug,
        "ID": slug.replace("-", "_"),
        "PREFIX": prefix,
        "PREFIX_UPPER": prefix.upper(),
        "RUNTIME": runtime_prefix(prefix),
        "PACK_CORES": "".join(f'      <accept Dcore="{name}"/>\n' for name in _pack_cores(core)),
        "CORE": core,
        "KERNELS": kernel_summary(plan),
        "PROOF": _proof(report.get("exactness", {})),
        "VERSION": VERSION,
        "HEIGHT": str(height),
        "WIDTH": str(width),
        "CHANNELS": str(channels),
        "INPUT_BYTES": str(height * width * channels),
        "CLASSES": str(len(model.class_names)),
        "CLASS_NAMES": "".join(f'    "{c_string(name)}",\n' for name in model.class_names),
        "CLASS_LIST": ", ".join(model.class_names).replace("|", "\\|"),
        "ARENA_BYTES": str(plan.arena_bytes),
        **_quantization(model),
        "LAYERS": f"{len(model.convs)} convolutions 3x3 with ReLU, global average pooling, one fully connected layer",
        "WEIGHTS": f"{report['model']['parameters']} parameters in {_span(report['model']['bit_widths'])} bits",
        "MACS": str(report["model"]["macs"]),
        "ACCURACY": f"{accuracy['top1']:.2f} % of {accuracy['images']} test images (top-1, the integers this library computes)",
        "DATASET": _dataset(report["dataset"]),
        "RECIPE": report["name"],
        "SEED": str(report["seed"]),
        "COMMIT": report["git_commit"] or "unknown",
        "MODEL_SHA256": sha256_file(converted.folder / MODEL_FILE),
    }


def _pack_cores(core: str) -> Sequence[str]:
    """CMSIS-Pack's names of the cores that the library runs on."""
    names = {name.lower().replace("+", "plus"): name for name in PACK_CORES}
    return PACK_CORES if core == PORTABLE else (names[core],)


def _proof(exactness: Mapping[str, Mapping[str, Any]]) -> str:
    """What the run proved of these integers."""
    compared = sum(entry["logits_compared"] for entry in exactness.values())
    differing = sum(entry["logits_mismatched"] for entry in exactness.values())
    return f"{differing} of {compared} logits differ between {len(exactness)} back ends and the reference, in the run's report"


def _dataset(dataset: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{count} {name}" for name, count in dataset["split_sizes"].items())
    return f"{dataset['name']}: {splits} images"


def _quantization(model: IntegerModel) -> dict[str, str]:
    """Scales as decimals that read back to the same float32."""
    first, last = model.convs[0].input, model.classifier.output
    return {
        "INPUT_SCALE": _float32(first.scale),
        "INPUT_ZERO_POINT": str(first.zero_point),
        "OUTPUT_SCALE": _float32(last.scale),
        "OUTPUT_ZERO_POINT": str(last.zero_point),
    }


def _float32(value: np.float32) -> str:
    text = np.format_float_scientific(value, unique=True, trim="0")
    assert np.float32(text) == value
    return text


def _span(bit_widths: Sequence[int]) -> str:
    low, high = min(bit_widths), max(bit_widths)
    return str(low) if low == high else f"{low} to {high}"


def example_image(vectors: Vectors) -> str:
    """C: pixels and reference logits of the first test image that the reference gets right, or else of the first."""
    right = np.flatnonzero(predict(vectors.logits) == vectors.labels)
    index = int(right[0]) if right.size else 0
    pixels, logits = vectors.images[index].ravel().tolist(), vectors.logits[index].tolist()
    return (
        f"/* Test image {index}, of class {int(vectors.labels[index])}, and the reference's logits of it. */\n"
        "#ifndef EXAMPLE_IMAGE_H\n#define EXAMPLE_IMAGE_H\n\n#include <stdint.h>\n\n"
        f"static const uint8_t example_pixels[{len(pixels)}] = {{\n{_rows(pixels)}}};\n\n"
        f"static const int8_t example_logits[{len(logits)}] = {{\n{_rows(logits)}}};\n\n#endif\n"
    )


def _rows(values: Sequence[int], width: int = 16) -> str:
    lines = [values[start : start + width] for start in range(0, len(values), width)]
    return "".join(f"    {', '.join(map(str, line))},\n" for line in lines)
