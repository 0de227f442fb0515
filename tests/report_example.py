"""A finished run in miniature: a random integer model with its convert folder, manifests and back ends' results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from convert.integer_model import IntegerModel, layer_weight_bytes
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.reference import predict, run, top1
from convert.vectors import FILE_NAME as VECTORS_FILE
from convert.vectors import Vectors, save_vectors
from deploy.config import BudgetConfig
from deploy.report_data import RunFacts, build_report
from deploy.report_weights import MERGED_FILE, dequantize
from deploy.result import BackendResult, proven
from deploy.targets import load_target
from tests.random_models import random_images, random_model
from train.artefact import Manifest, write_manifest

CREATED = "2026-11-21T12:00:00Z"
RECIPE = "seed: 7\ndata: {name: digits}\nmodel:\n  widths: [16, 16, 32]\n"


@dataclass(frozen=True)
class ExampleRun:
    """Everything `build_report` takes."""

    folder: Path
    model: IntegerModel
    vectors: Vectors
    train: Manifest
    convert: Manifest
    backends: tuple[BackendResult, ...]
    facts: RunFacts

    def report(self, budget: BudgetConfig | None = None) -> dict:
        """The report of this run."""
        return build_report(
            train=self.train, convert=self.convert, convert_folder=self.folder, backends=self.backends,
            budget=budget, facts=self.facts,
        )  # fmt: skip


def example_run(folder: Path, *, images: int = 360, emulated: int = 200, activation_bits: int = 8) -> ExampleRun:
    """Write a convert folder below `folder` and return the run; equal arguments give equal bytes."""
    rng = np.random.default_rng(11)
    model = random_model(
        3,
        widths=(12, 16, 16, 24, 32),
        strides=(1, 2, 1, 2, 1),
        bit_widths=(8, 4, 4, 4, 3),
        activation_bits=activation_bits,
    )
    pictures = random_images(rng, images, model.input_hwc)
    logits = run(model, pictures)
    labels = predict(logits).astype(np.uint8)
    wrong = rng.random(images) < 0.025
    labels[wrong] = rng.integers(0, 10, int(wrong.sum()))
    vectors = Vectors(pictures, labels, logits)
    save_integer_model(model, folder / MODEL_FILE)
    save_vectors(vectors, folder / VECTORS_FILE)
    save_file(_merged(model, rng), folder / MERGED_FILE)
    float_top1 = min(100.0, top1(logits, labels) + 100 / images)
    convert = write_manifest(
        folder,
        stage="convert",
        key="c" * 64,
        metrics={
            "accuracy": {
                "merged": {"top1": float_top1, "images": images},
                "numpy": {"top1": top1(logits, labels), "images": images},
            }
        },
        tool_versions={"numpy": "1.26.4", "onnx": "1.19.1"},
    )
    facts = RunFacts(
        "quickstart", CREATED, "a" * 64, "b" * 40, 7, RECIPE, {"apache-tvm": "0.27.0", "qemu-system-arm": "7.2.15"},
        tuple(load_target(name) for name in ("cortex-m4", "cortex-a53", "ethos-u55-128")),
    )  # fmt: skip
    return ExampleRun(
        folder, model, vectors, _train(float_top1, images), convert, _backends(model, vectors, emulated), facts
    )


def _train(float_top1: float, images: int) -> Manifest:
    return Manifest(
        stage="train",
        key="d" * 64,
        created_utc=CREATED,
        tool_versions={"torch": "2.13.0", "numpy": "1.26.4"},
        metrics={
            "accuracy": {
                "float_train": {"top1": float_top1, "images": images},
                "qat": {"top1": float_top1 - 100 / images, "images": images},
            },
            "dataset": {
                "name": "digits",
                "split_sizes": {"train": 1294, "validation": 143, "test": images},
                "sha256": "e" * 64,
            },
        },
    )


def _merged(model: IntegerModel, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Float weights that quantize to the model's, roughly: its real weights, noise, and one outlier in the first layer."""
    tensors = {}
    for layer in model.layers:
        weight = dequantize(layer)
        weight = weight + rng.normal(0, 0.08 * weight.std(), weight.shape)
        tensors[f"{layer.name}.weight"] = weight.astype(np.float32)
        tensors[f"{layer.name}.bias"] = np.zeros(weight.shape[0], np.float32)
    tensors[f"{model.layers[0].name}.weight"].flat[0] *= 9
    return tensors


def _backends(model: IntegerModel, vectors: Vectors, emulated: int) -> tuple[BackendResult, ...]:
    few = vectors.logits[:emulated]
    rounded = vectors.logits.copy()
    rounded[::9, 0] = np.clip(rounded[::9, 0].astype(int) + 1, -128, 127)
    return (
        proven("host_c", vectors, vectors.logits),
        proven("tflite_ref", vectors, vectors.logits),
        proven("tvm_host", vectors, vectors.logits),
        proven("tvm_cortex-a53", vectors, few, target=_cortex_a(model)),
        proven("firmware_cortex-m4", vectors, few, target=_cortex_m(model)),
        BackendResult("vela_ethos-u55-128", target=_ethos_u(model), notices=("compiled and decoded, not executed",)),
        proven("tflite_xnnpack", vectors, rounded, role="runtime"),
    )


def _cortex_m(model: IntegerModel) -> dict:
    weights = dict(zip((layer.name for layer in model.layers), map(layer_weight_bytes, model.layers), strict=True))
    layers = []
    for shape in model.shapes():
        input_bytes, output_bytes = int(np.prod(shape.input_hwc)), int(np.prod(shape.output_hwc))
        scratch = 9 * shape.input_hwc[2] * 2 if shape.kind == "conv" else 0
        layers.append(
            {
                "name": shape.name,
                "macs": shape.macs,
                "bit_width": next((layer.bit_width for layer in model.layers if layer.name == shape.name), None),
                "flash_bytes": weights.get(shape.name, 0),
                "ram_bytes": input_bytes + output_bytes + scratch,
                "scratch_bytes": scratch,
                "instructions": int(shape.macs * 6.4) + 40 * output_bytes + 300,
                "kernel": "portable" if shape.kind == "conv" else f"portable_{shape.kind}",
                "strip_channels": 4 if shape.kind == "conv" else None,
                "loads": shape.macs,
                "load_bytes": 2 * shape.macs,
                "stores": output_bytes + scratch,
                "store_bytes": output_bytes + scratch,
            }
        )
    instructions = sum(row["instructions"] for row in layers) + 812
    arena, flash_weights = max(row["ram_bytes"] for row in layers), sum(weights.values()) + 24
    cycles = instructions * 1.18
    return {
        "kind": "cortex_m",
        "flash_bytes": {"code": 6412, "weights": flash_weights, "other": 1180, "total": 6412 + flash_weights + 1180},
        "ram_bytes": {"arena": arena, "stack": 488, "static": 96, "total": arena + 488 + 96},
        "instructions": instructions,
        "instructions_mean": {"images": 8, "mean": instructions + 31.5},
        "stack_used_bytes": {"paint": 440, "stores": 448},
        "cycles_estimated": {"low": cycles * 0.85, "mid": cycles, "high": cycles * 1.15},
        "latency_ms_estimated": {part: cycles * f / 168e3 for part, f in (("low", 0.85), ("mid", 1.0), ("high", 1.15))},
        "layers": layers,
        **_kernels(layers, arena),
    }


def _kernels(layers: list[dict], arena: int) -> dict:
    """What a profile by function and the planner add to a microcontroller's facts."""
    by_kind = {"repedge_conv3x3_s8": layers[:-2], "repedge_fully_connected_s8": layers[-2:]}
    total = sum(row["instructions"] for row in layers)
    functions = [
        {
            "name": name,
            "instructions": sum(row["instructions"] for row in own),
            "percent": round(100 * sum(row["instructions"] for row in own) / total, 3),
            "layers": {row["name"]: row["instructions"] for row in own},
        }
        for name, own in by_kind.items()
    ]
    points = [
        {"ram_bytes": arena + 584 + more, "instructions_estimated": total - 40 * more, "flash_bytes_estimated": 14000, "kernels": ["portable"]}
        for more in (0, 640, 2048)
    ]  # fmt: skip
    built = {
        "ram_bytes": arena + 584,
        "instructions": total,
        "instructions_estimated": total + 99,
        "flash_bytes": 13900,
    }
    return {
        "stack_bound_bytes": {"inference": 400, "program": 480},
        "stack_worst_path": ["repedge_invoke 48", "repedge_conv3x3_s8 352"],
        "peak_ram_bytes": {"arena": arena, "stack_bound": 400, "total": arena + 400},
        "kernel_code_bytes": {"total": 2900, "libgcc": 0, "objects": {"repedge_invoke.c.obj": 172}},
        "functions": functions,
        "trade_off": {"kind": "estimated", "points": points, "built": built | {"kernels": ["portable"]}},
    }


def _cortex_a(model: IntegerModel) -> dict:
    layers = [
        {"name": shape.name, "macs": shape.macs, "instructions": shape.macs // 3 + 500} for shape in model.shapes()
    ]
    instructions = sum(row["instructions"] for row in layers)
    weights = sum(map(layer_weight_bytes, model.layers))
    return {
        "kind": "cortex_a",
        "flash_bytes": {"code": 21888, "weights": weights, "other": 3200, "total": 21888 + weights + 3200},
        "ram_bytes": {"arena": 2048, "stack": 1520, "static": 64, "total": 3632},
        "instructions": instructions,
        "cycles_estimated": {"low": instructions / 2, "mid": instructions, "high": instructions * 2},
        "latency_ms_estimated": {"low": instructions / 2e6, "mid": instructions / 1e6, "high": instructions / 0.5e6},
        "layers": layers,
    }


def _ethos_u(model: IntegerModel) -> dict:
    return {
        "kind": "ethos_u",
        "flash_bytes": {"code": 1216, "weights": 6032, "other": 880, "total": 8128},
        "ram_bytes": {"arena": 3072, "stack": 0, "static": 0, "total": 3072},
        "cycles_estimated": {"low": 20480, "mid": 20480, "high": 20480},
        "latency_ms_estimated": {"low": 0.04096, "mid": 0.04096, "high": 0.04096},
        "layers": [_npu_layer(shape.name, shape.macs) for shape in model.shapes()],
        "system_config": "Ethos_U55_High_End_Embedded",
        "memory_mode": "Shared_Sram",
        "off_chip_flash_bytes": 7040,
        "uniform_int8": {"weight_bytes": 11200, "cycles_estimated": 24576, "off_chip_flash_bytes": 12208},
    }


def _npu_layer(name: str, macs: int) -> dict:
    """The pool holds no weights."""
    row = {"name": name, "macs": macs, "flash_bytes": 0, "ram_bytes": 512, "cycles_estimated": 2000}
    plain = {"cycles_estimated": 2400, "sram_bytes": 512}
    if not macs:
        return row | {"uniform_int8": plain}
    weights = {"codebook_entries": 16, "weight_bytes": 4321, "bits_per_weight": 3.76}
    return row | weights | {"uniform_int8": plain | {"weight_bytes": 8765, "bits_per_weight": 7.63}}
