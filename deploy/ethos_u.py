"""Ethos-U: the exact int8 TFLite file through Vela, its output decoded and compared, its estimates reported.

Nothing is executed: there is no emulator of the NPU. Weights, biases, multipliers, zero points and clamps are read
back from Vela's command stream and compared with the integer model; bytes are exact, cycles are Vela's estimate. The
same net with uniform int8 weights is compiled beside it, so that what the codebook buys is told layer by layer.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.integer_model import IntegerModel
from convert.tflite_exact import FILE_NAME, verify_tflite, write_tflite
from deploy.ethos_u_notices import general_notices, layer_notices
from deploy.report_weights import MERGED_FILE, load_merged_weights
from deploy.result import BackendResult, ConvertedModel
from deploy.targets import EthosUTarget
from deploy.vela_baseline import uniform_int8
from deploy.vela_decode import LayerStreams, check_streams
from deploy.vela_export import write_tflm_sources
from deploy.vela_run import LOG_NAME, OperatorEstimate, VelaReport, run_vela
from deploy.vela_stream import VelaOutput, read_vela_output
from train.errors import UnsupportedLayer


@dataclass(frozen=True)
class Compilation:
    """One net through Vela: its report, its file taken apart, and its layers' streams, compared with the model."""

    model: IntegerModel
    report: VelaReport
    output: VelaOutput
    streams: list[LayerStreams]


def deploy_ethos_u(converted: ConvertedModel, target: EthosUTarget, out: Path) -> BackendResult:
    """Compile into `out`, decode, compare; the target's entry of report.json comes back, with notices."""
    tflite = converted.folder / FILE_NAME
    verify_tflite(converted.model, tflite)
    ours = compile_net(converted.model, tflite, target, out)
    merged = load_merged_weights(converted.folder / MERGED_FILE, converted.model)
    with tempfile.TemporaryDirectory(prefix="repedge-vela-") as name:
        path = Path(name) / FILE_NAME
        plain_model, origin = uniform_int8(converted.model, merged)
        write_tflite(plain_model, path)
        plain = compile_net(plain_model, path, target, Path(name) / "out")
        entry = _target_entry(ours, plain, target)
        entry["uniform_int8"]["weights"] = origin
    write_tflm_sources(ours.report.path, target, ours.output.npu_operators, sram_bytes=ours.report.sram_bytes)
    return BackendResult(
        backend=f"vela_{target.name}",
        target=entry,
        notices=(
            *general_notices(target, ours.report),
            *layer_notices(converted.model, ours.streams, entry["layers"]),
        ),
    )


def compile_net(model: IntegerModel, tflite: Path, target: EthosUTarget, folder: Path) -> Compilation:
    """Vela's output for `tflite`, whose integers must be `model`'s; `UnsupportedLayer` where a layer stays on the CPU."""
    report = run_vela(tflite, target, folder)
    output = read_vela_output(report.path, target.accelerator)
    if output.cpu_operators:
        raise UnsupportedLayer(
            f"target {target.name}: {', '.join(output.cpu_operators)} left to the CPU, all must run on the NPU; "
            f"{folder / LOG_NAME} has Vela's reason, it begins: {(folder / LOG_NAME).read_text()[:300].strip()}"
        )
    streams = check_streams(model, output, report.layer_of_command, target.accelerator)
    return Compilation(model, report, output, streams)


def _target_entry(ours: Compilation, plain: Compilation, target: EthosUTarget) -> dict[str, Any]:
    """The entry of report.json's `targets`; flash is Vela's file: streams, commands and the flatbuffer around them."""
    report, total = ours.report, ours.report.path.stat().st_size
    encoded = sum(layer.weight_bytes + layer.scale_bytes for layer in ours.streams)
    latency_ms = 1000 * report.cycles / report.clock_hz
    return {
        "kind": "ethos_u",
        "flash_bytes": {"code": None, "weights": encoded, "other": total - encoded, "total": total},
        "ram_bytes": {"arena": report.sram_bytes, "stack": None, "static": None, "total": report.sram_bytes},
        "instructions": None,
        "cycles_estimated": {"low": report.cycles, "mid": report.cycles, "high": report.cycles},
        "latency_ms_estimated": {"low": latency_ms, "mid": latency_ms, "high": latency_ms},
        "layers": _layer_rows(ours, plain),
        "executed": False,
        "system_config": target.system_config,
        "memory_mode": target.memory_mode,
        "dram_bytes": report.dram_bytes,
        "off_chip_flash_bytes": report.off_chip_flash_bytes,
        "command_stream_bytes": ours.output.commands_bytes,
        "uniform_int8": _totals(plain),
    }


def _totals(plain: Compilation) -> dict[str, Any]:
    """The same net with uniform int8 weights."""
    return {
        "weight_bytes": sum(layer.weight_bytes for layer in plain.streams),
        "flash_bytes": plain.report.path.stat().st_size,
        "sram_bytes": plain.report.sram_bytes,
        "dram_bytes": plain.report.dram_bytes,
        "off_chip_flash_bytes": plain.report.off_chip_flash_bytes,
        "cycles_estimated": plain.report.cycles,
    }


def _layer_rows(ours: Compilation, plain: Compilation) -> list[dict[str, Any]]:
    """One row per layer in the model's order."""
    encoded = {layer.name: number for number, layer in enumerate(ours.streams)}
    rows = []
    for shape in ours.model.shapes():
        estimate, plain_estimate = (
            compilation.report.operators.get(shape.name, OperatorEstimate(0, 0)) for compilation in (ours, plain)
        )
        row: dict[str, Any] = {
            "name": shape.name,
            "macs": shape.macs,
            "bit_width": None,
            "flash_bytes": 0,
            "ram_bytes": estimate.sram_bytes,
            "instructions": None,
            "cycles_estimated": estimate.cycles,
            "uniform_int8": {"cycles_estimated": plain_estimate.cycles, "sram_bytes": plain_estimate.sram_bytes},
        }
        if shape.name in encoded:
            number = encoded[shape.name]
            row |= _weight_facts(ours, number)
            row["uniform_int8"] |= {
                key: value
                for key, value in _weight_facts(plain, number).items()
                if key in ("weight_bytes", "bits_per_weight")
            }
        rows.append(row)
    return rows


def _weight_facts(compilation: Compilation, number: int) -> dict[str, Any]:
    """`bits_per_weight` is Vela's encoding without biases and multipliers, the zeros it fills units up with included."""
    layer, stream = compilation.model.layers[number], compilation.streams[number]
    return {
        "bit_width": layer.bit_width,
        "flash_bytes": stream.weight_bytes + stream.scale_bytes,
        "weight_bytes": stream.weight_bytes,
        "scale_bytes": stream.scale_bytes,
        "bits_per_weight": 8 * stream.weight_bytes / layer.indices.size,
        "stored_values": stream.stored_values,
        "codebook_entries": int(np.unique(layer.indices).size),
        "weights_proven": stream.proven,
    }
