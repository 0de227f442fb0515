"""Ethos-U: the exact int8 TFLite file through Vela, its output decoded and compared, its estimates reported.

Nothing is executed: there is no emulator of the NPU. Weights, biases, multipliers, zero points and clamps are read
back from Vela's command stream and compared with the integer model; bytes are exact, cycles are Vela's estimate.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from convert.integer_model import IntegerModel
from convert.tflite_exact import FILE_NAME, verify_tflite
from deploy.result import BackendResult, ConvertedModel
from deploy.targets import EthosUTarget
from deploy.vela_decode import IN_ORDER, LayerStreams, check_streams
from deploy.vela_run import LOG_NAME, OperatorEstimate, VelaReport, run_vela
from deploy.vela_stream import VelaOutput, read_vela_output
from train.errors import UnsupportedLayer

PALETTE_ENTRIES = 32


def deploy_ethos_u(converted: ConvertedModel, target: EthosUTarget, out: Path) -> BackendResult:
    """Compile into `out`, decode, compare; the target's entry of report.json comes back, with notices."""
    tflite = converted.folder / FILE_NAME
    verify_tflite(converted.model, tflite)
    report = run_vela(tflite, target, out)
    output = read_vela_output(report.path, target.accelerator)
    if output.cpu_operators:
        raise UnsupportedLayer(
            f"target {target.name}: {', '.join(output.cpu_operators)} left to the CPU, all must run on the NPU; "
            f"{out / LOG_NAME} has Vela's reason, it begins: {(out / LOG_NAME).read_text()[:300].strip()}"
        )
    streams = check_streams(converted.model, output, report.layer_of_command, target.accelerator)
    return BackendResult(
        backend=f"vela_{target.name}",
        target=_target_entry(converted.model, target, report, output, streams),
        notices=(*_general_notices(target, report), *_layer_notices(converted.model, streams)),
    )


def _target_entry(
    model: IntegerModel,
    target: EthosUTarget,
    report: VelaReport,
    output: VelaOutput,
    streams: list[LayerStreams],
) -> dict[str, Any]:
    """The entry of report.json's `targets`; flash is Vela's file: streams, commands and the flatbuffer around them."""
    total = report.path.stat().st_size
    encoded = sum(layer.weight_bytes + layer.scale_bytes for layer in streams)
    latency_ms = 1000 * report.cycles / report.clock_hz
    return {
        "kind": "ethos_u",
        "flash_bytes": {"code": None, "weights": encoded, "other": total - encoded, "total": total},
        "ram_bytes": {"arena": report.sram_bytes, "stack": None, "static": None, "total": report.sram_bytes},
        "instructions": None,
        "cycles_estimated": {"low": report.cycles, "mid": report.cycles, "high": report.cycles},
        "latency_ms_estimated": {"low": latency_ms, "mid": latency_ms, "high": latency_ms},
        "layers": _layer_rows(model, report, streams),
        "executed": False,
        "system_config": target.system_config,
        "memory_mode": target.memory_mode,
        "dram_bytes": report.dram_bytes,
        "command_stream_bytes": output.commands_bytes,
    }


def _layer_rows(model: IntegerModel, report: VelaReport, streams: list[LayerStreams]) -> list[dict[str, Any]]:
    """One row per layer in the model's order; `bits_per_weight` is Vela's encoding without biases and multipliers."""
    encoded = {layer.name: layer for layer in streams}
    weighted = {layer.name: layer for layer in model.layers}
    rows = []
    for shape in model.shapes():
        estimate = report.operators.get(shape.name, OperatorEstimate(0, 0))
        row: dict[str, Any] = {
            "name": shape.name,
            "macs": shape.macs,
            "bit_width": None,
            "flash_bytes": 0,
            "ram_bytes": estimate.sram_bytes,
            "instructions": None,
            "cycles_estimated": estimate.cycles,
        }
        if shape.name in weighted:
            layer, stream = weighted[shape.name], encoded[shape.name]
            row["bit_width"] = layer.bit_width
            row["flash_bytes"] = stream.weight_bytes + stream.scale_bytes
            row["weight_bytes"] = stream.weight_bytes
            row["bits_per_weight"] = 8 * stream.weight_bytes / layer.indices.size
            row["codebook_entries"] = int(np.unique(layer.indices).size)
            row["weights_proven"] = stream.proven
        rows.append(row)
    return rows


def _general_notices(target: EthosUTarget, report: VelaReport) -> list[str]:
    notices = [
        "compiled and decoded, not executed",
        f"cycles are the estimate of Vela {version('ethos-u-vela')} for {target.system_config}, {target.memory_mode}; "
        "Vela gives no error band",
        "flash is Vela's file; the driver and the application are not in it",
    ]
    if report.dram_bytes:
        notices.append(f"this memory mode also uses {report.dram_bytes} bytes of DRAM, weights included")
    return notices


def _layer_notices(model: IntegerModel, streams: list[LayerStreams]) -> list[str]:
    """Layers beyond the palette, and layers whose weights are proven less than place by place."""
    notices = []
    for layer, stream in zip(model.layers, streams, strict=True):
        entries = int(np.unique(layer.indices).size)
        if entries > PALETTE_ENTRIES:
            notices.append(
                f"layer {layer.name}: {entries} codebook entries, the palette has {PALETTE_ENTRIES}; "
                "stored as plain int8"
            )
        if stream.proven != IN_ORDER:
            notices.append(
                f"layer {layer.name}: the weights are not decoded (a format or accelerator that the decoder does not know)"
            )
    return notices
