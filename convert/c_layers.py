"""What the C tables say of each layer: symbols, scalars and arrays, for the writer and for the check of what it wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from convert.kernel import ConvKernel, pack_in_order
from convert.kernels_portable import PORTABLE
from convert.memory_plan import MemoryPlan, Placement
from convert.packing import pack_indices
from convert.stored import stored_codebook, stored_layer
from train.errors import UnsupportedLayer

KINDS = {"conv": "REPEDGE_CONV3X3", "pool": "REPEDGE_AVERAGE_POOL", "fully_connected": "REPEDGE_FULLY_CONNECTED"}
TABLE_TYPES = {
    "indices": "uint8_t",
    "codebook": "int8_t",
    "bias": "int32_t",
    "multiplier": "int32_t",
    "shift": "int8_t",
}
MAX_LAYERS = 62  # the profiler's marks number layers below 63
MAX_SIZE = 65535  # heights, widths and channels are uint16


@dataclass(frozen=True)
class CLayer:
    """One entry of the layer table. `scalars` in the struct's order; `tables` is empty for the pool."""

    name: str
    symbol: str
    scalars: dict[str, int | str]
    tables: dict[str, NDArray[np.integer]]


def c_layers(model: IntegerModel, plan: MemoryPlan) -> list[CLayer]:
    """The layer table of a model; `UnsupportedLayer` where C could not hold it."""
    weights = {layer.name: layer for layer in model.layers}
    layers = [_c_layer(model, weights.get(placement.shape.name), placement) for placement in plan.placements]
    _check_symbols(layers)
    return layers


def layer_symbol(name: str) -> str:
    """Prefix of a layer's symbols in the ELF: `stage1.0` -> `model_stage1_0`."""
    return "model_" + re.sub(r"\W", "_", name, flags=re.ASCII)


def layer_tables(
    layer: QuantizedConv | QuantizedFullyConnected, kernel: ConvKernel = PORTABLE
) -> dict[str, NDArray[np.integer]]:
    """The constant arrays of a layer: symbols packed in its kernel's order, codebook padded with zeros to 2^b entries (none
    where the layer is plain), bias, multiplier, shift."""
    stored = stored_layer(layer)
    codebook = stored_codebook(stored)
    multiplier, shift = layer.requantization
    return {
        "indices": _packed(stored, kernel),
        **({} if codebook is None else {"codebook": codebook}),
        "bias": layer.bias,
        "multiplier": multiplier,
        "shift": shift.astype(np.int8),  # -31 .. 30
    }


def _packed(layer: QuantizedConv | QuantizedFullyConnected, kernel: ConvKernel) -> NDArray[np.uint8]:
    if isinstance(layer, QuantizedConv):
        return pack_in_order(layer.indices, layer.bit_width, kernel.order)
    return pack_indices(layer.indices, layer.bit_width)


def _c_layer(
    model: IntegerModel, layer: QuantizedConv | QuantizedFullyConnected | None, placement: Placement
) -> CLayer:
    shape = placement.shape
    _check_sizes(shape.name, (*shape.input_hwc, *shape.output_hwc))
    quantization = layer.output if layer else model.convs[-1].output if model.convs else model.input
    choice = placement.choice
    scalars: dict[str, int | str] = {
        "convolve": choice.kernel.function if choice else "NULL",
        "input_offset": placement.input_offset,
        "output_offset": placement.output_offset,
        "scratch_offset": placement.scratch_offset,
        "scratch_bytes": placement.scratch_bytes,
        "input_height": shape.input_hwc[0],
        "input_width": shape.input_hwc[1],
        "input_channels": shape.input_hwc[2],
        "output_height": shape.output_hwc[0],
        "output_width": shape.output_hwc[1],
        "output_channels": shape.output_hwc[2],
        "strip_channels": choice.strip_channels if choice else 0,
        "kind": KINDS[shape.kind],
        "kernel": choice.kernel.constant if choice else PORTABLE.constant,
        "stride": layer.stride if isinstance(layer, QuantizedConv) else 1,
        "bit_width": stored_layer(layer).bit_width if layer else 0,
        "input_zero_point": layer.input.zero_point if layer else quantization.zero_point,
        "output_zero_point": quantization.zero_point,
        "clamp_min": layer.clamp_min if isinstance(layer, QuantizedConv) else -128,
        "clamp_max": layer.clamp_max if isinstance(layer, QuantizedConv) else 127,
    }
    if layer:
        _check_accumulator(layer)
    tables = layer_tables(layer, choice.kernel if choice else PORTABLE) if layer else {}
    return CLayer(shape.name, layer_symbol(shape.name), scalars, tables)


def _check_sizes(name: str, sizes: tuple[int, ...]) -> None:
    if max(sizes) > MAX_SIZE:
        raise UnsupportedLayer(f"layer {name}: size {max(sizes)}, allowed up to {MAX_SIZE}; make the net narrower")


def _check_accumulator(layer: QuantizedConv | QuantizedFullyConnected) -> None:
    """The kernels' sums must stay inside int32: |input − zero point| <= 255 for each of a channel's weights."""
    rows = np.abs(layer.codebook.astype(np.int64))[layer.indices.reshape(layer.indices.shape[0], -1)]
    largest = 255 * int(rows.sum(axis=1).max())
    if largest >= 2**31:
        raise UnsupportedLayer(
            f"layer {layer.name}: accumulator up to {largest}, allowed below {2**31}; use fewer input channels"
        )


def _check_symbols(layers: list[CLayer]) -> None:
    if len(layers) > MAX_LAYERS:
        raise UnsupportedLayer(f"{len(layers)} layers, the firmware allows {MAX_LAYERS}; use a shallower net")
    seen: dict[str, str] = {}
    for layer in layers:
        if layer.symbol in seen:
            raise UnsupportedLayer(
                f"layer {layer.name}: its C symbol {layer.symbol} is also that of layer {seen[layer.symbol]}; rename one"
            )
        seen[layer.symbol] = layer.name
