"""What a reader of an Ethos-U target's figures must know beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from convert.integer_model import IntegerModel
from deploy.targets import PALETTE_ENTRIES, EthosUTarget
from deploy.vela_decode import IN_ORDER, LayerStreams
from deploy.vela_run import VelaReport


def general_notices(target: EthosUTarget, report: VelaReport) -> list[str]:
    """What holds for the whole target."""
    notices = [
        "compiled and decoded, not executed",
        f"cycles are the estimate of Vela {version('ethos-u-vela')} for {target.system_config}, {target.memory_mode}; "
        "Vela gives no error band",
        "flash is Vela's file; the driver and the application are not in it",
    ]
    if report.dram_bytes:
        notices.append(f"this memory mode also uses {report.dram_bytes} bytes of DRAM, weights included")
    return notices


def layer_notices(model: IntegerModel, streams: Sequence[LayerStreams], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Layers beyond the palette, layers whose codebook saves no cycles, and layers that could not be decoded."""
    notices = []
    beyond = [
        f"{layer.name} ({entries})"
        for layer in model.layers
        if (entries := int(np.unique(layer.indices).size)) > PALETTE_ENTRIES
    ]
    if beyond:
        notices.append(
            f"layers with more codebook entries than the palette's {PALETTE_ENTRIES}, stored as plain int8: "
            f"{', '.join(beyond)}; quantize.weights.max_entries: {PALETTE_ENTRIES} in the recipe gives every layer a palette"
        )
    slow = [row["name"] for row in rows if _buys_only_size(row)]
    if slow:
        notices.append(
            f"the codebook buys size but no estimated cycles against uniform int8 weights in {', '.join(slow)}: "
            "reading weights is not what limits them here"
        )
    notices += [
        f"layer {stream.name}: the weights are not decoded (a format or accelerator that the decoder does not know)"
        for stream in streams
        if stream.proven != IN_ORDER
    ]
    return notices


def _buys_only_size(row: Mapping[str, Any]) -> bool:
    plain = row["uniform_int8"]
    if "weight_bytes" not in row:
        return False
    return row["weight_bytes"] < plain["weight_bytes"] and row["cycles_estimated"] >= plain["cycles_estimated"]
