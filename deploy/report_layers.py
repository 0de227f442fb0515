"""The per-layer part of the report: one row per layer of the integer model and its memory use.

Activations are int8, so an activation tensor's bytes are its element count. A layer's input and output are alive at
the same time; `scratch_bytes` comes from the target that reports it and is None where none does.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convert.branches import load_branches
from convert.integer_model import IntegerModel, LayerShape, layer_weight_bytes
from deploy.report_weights import Float64, dequantize, rebase_factor, snr_db, weight_histogram


def layer_rows(model: IntegerModel, merged: Mapping[str, Float64]) -> list[dict[str, Any]]:
    """report.json's `layers`: every layer in order with its bits, MACs, bytes and signal-to-noise ratio."""
    weighted = {layer.name: layer for layer in model.layers}
    rows = []
    for shape in model.shapes():
        layer = weighted.get(shape.name)
        rows.append(
            {
                "name": shape.name,
                "op": shape.kind,
                "stride": getattr(layer, "stride", None),
                "output_hwc": list(shape.output_hwc),
                "bit_width": layer.bit_width if layer else None,
                "codebook_entries": int(layer.codebook.size) if layer else None,
                "macs": shape.macs,
                "flash_bytes": layer_weight_bytes(layer) if layer else 0,
                "ram_bytes": prod(shape.input_hwc) + prod(shape.output_hwc),
                "snr_db": snr_db(merged[layer.name], dequantize(layer)) if layer else None,
            }
        )
    return rows


def histograms(
    model: IntegerModel, merged: Mapping[str, Float64], branches: Mapping[str, Float64]
) -> list[dict[str, Any]]:
    """report.json's `histograms`, one entry per layer that holds weights; all in the integer model's units."""
    return [
        weight_histogram(layer.name, merged[layer.name], dequantize(layer), branches.get(layer.name))
        for layer in model.layers
    ]


def unit_factors(model: IntegerModel, merged: Mapping[str, Float64]) -> dict[str, float]:
    """Layer -> the factor from float weights to the integer model's units; not 1 where lowering re-based its scales."""
    if all(conv.activation_bits == 8 for conv in model.convs):
        return dict.fromkeys(merged, 1.0)
    return {layer.name: rebase_factor(merged[layer.name], dequantize(layer)) for layer in model.layers}


def joined_branches(folder: Path, factors: Mapping[str, float]) -> dict[str, Float64]:
    """Layer -> the folded weights of all its branches in one row, in the integer model's units."""
    return {
        name: factors[name] * np.concatenate([weight.ravel() for weight in branches.values()]).astype(np.float64)
        for name, branches in load_branches(folder).items()
    }


def memory_timeline(model: IntegerModel, targets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """report.json's `memory_timeline`: input, output and scratch bytes while each layer runs.

    Scratch and arena are those of the first microcontroller among the targets; without one they are None.
    """
    name = next((name for name, target in targets.items() if target["kind"] == "cortex_m"), None)
    target = targets[name] if name else {}
    rows = {row["name"]: row for row in target.get("layers", [])}
    return {
        "target": name,
        "arena_bytes": (target.get("ram_bytes") or {}).get("arena"),
        "layers": [_memory_row(shape, rows.get(shape.name, {})) for shape in model.shapes()],
    }


def _memory_row(shape: LayerShape, target_row: Mapping[str, Any]) -> dict[str, Any]:
    input_bytes, output_bytes = prod(shape.input_hwc), prod(shape.output_hwc)
    scratch = target_row.get("scratch_bytes")
    return {
        "name": shape.name,
        "input_bytes": input_bytes,
        "output_bytes": output_bytes,
        "scratch_bytes": scratch,
        # less than the sum where the target's kernel works in place
        "total_bytes": target_row.get("ram_bytes", input_bytes + output_bytes + (scratch or 0)),
    }
