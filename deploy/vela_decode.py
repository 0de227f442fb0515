"""Vela's weights, biases and multipliers, decoded from its output and compared with the integer model.

Scale streams hold 10 bytes per output channel, little-endian:

    Ethos-U55, U65:  bias 5 bytes (signed), multiplier 4, shift 1     real multiplier = multiplier · 2^−shift
    Ethos-U85:       bias 4 bytes (signed), multiplier 4, shift 1, zero 1

With two streams of scales (Ethos-U65-512), stream c holds the output channels c, c + 2, …
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from deploy import mlw_runner
from deploy.vela_fast import decode_fast
from deploy.vela_order import StreamOrder, stream_order, stream_positions
from deploy.vela_stream import FlashRange, KernelCall, VelaOutput
from train.errors import Mismatch, ToolFailed

SCALE_ENTRY_BYTES = 10
TIMEOUT_S = 600
TAIL_LINES = 15

IN_ORDER = "in order"  # every weight at its place
NOT_DECODED = "not decoded"

Layer = QuantizedConv | QuantizedFullyConnected


@dataclass(frozen=True)
class LayerStreams:
    """One layer in flash: encoded bytes, bytes of biases and multipliers, and how far the weights are proven.

    `stored_values` counts the weights with the zeros that fill units up; None where they are not decoded.
    """

    name: str
    weight_bytes: int
    scale_bytes: int
    proven: str
    stored_values: int | None


def check_streams(
    model: IntegerModel, output: VelaOutput, layer_of_command: Mapping[int, str], accelerator: str
) -> list[LayerStreams]:
    """Decode and compare every layer; `Mismatch` names the layer whose integers are not the model's."""
    first, last = model.layers[0], model.layers[-1]
    for layer, what, found, expected in (
        (first, "input", output.input, model.input),
        (last, "output", output.output, last.output),
    ):
        if found != expected:
            raise _mismatch(layer, f"{what} quantization {found} in Vela's output, the model has {expected}")
    slices = _slices_by_layer(output.calls, layer_of_command)
    ranges = coded_ranges(output.calls, accelerator)
    streams = {str(range_.offset): _stream(output.flash, range_.offset, range_.length) for range_ in ranges}
    decoded = decode_streams(streams) if streams else {}
    return [
        _check_layer(layer, slices.get(layer.name, []), output.flash, decoded, accelerator) for layer in model.layers
    ]


def coded_ranges(calls: Sequence[KernelCall], accelerator: str) -> list[FlashRange]:
    """The streams that Vela's codec decodes, each once: all but those of unknown order and those in the fast format."""
    orders = [(call, call_order(call, accelerator)) for call in calls]
    return list({range_: None for call, order in orders if order and not order.fast for range_ in call.weights})


def call_order(call: KernelCall, accelerator: str) -> StreamOrder | None:
    """The order of one kernel's streams, None where it is not known."""
    order = stream_order(accelerator, call.weight_format, call.micro_block_pixels)
    return order if order and len(call.weights) == order.streams else None


def decode_streams(streams: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.int16]]:
    """Weight values of each stream; the codec runs in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="repedge-mlw-") as name:
        source, result = Path(name) / "streams.npz", Path(name) / "values.npz"
        np.savez(source, **dict(streams))
        command = [sys.executable, "-P", str(Path(mlw_runner.__file__).resolve()), str(source), str(result)]
        finished = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        if finished.returncode != 0:
            tail = "\n".join(finished.stderr.decode(errors="replace").splitlines()[-TAIL_LINES:])
            raise ToolFailed(f"mlw_codec: ended with {finished.returncode}, 0 is allowed; a stream is damaged\n{tail}")
        with np.load(result) as archive:
            return {key: archive[key] for key in archive.files}


def _stream(flash: bytes, offset: int, length: int) -> NDArray[np.uint8]:
    return np.frombuffer(flash, np.uint8, length, offset)


def _slices_by_layer(calls: Sequence[KernelCall], layer_of_command: Mapping[int, str]) -> dict[str, list[KernelCall]]:
    """Each layer's calls without those that use the same weights again for another stripe of the image."""
    slices: dict[str, list[KernelCall]] = {}
    for call in calls:
        if call.command_offset not in layer_of_command:
            raise Mismatch(
                f"Vela's command at byte {call.command_offset}: no layer in its debug file; each kernel must have one; "
                "install the pinned ethos-u-vela"
            )
        known = slices.setdefault(layer_of_command[call.command_offset], [])
        if all(call.weights != other.weights for other in known):
            known.append(call)
    return slices


def _check_layer(
    layer: Layer, slices: list[KernelCall], flash: bytes, decoded: Mapping[str, NDArray[np.int16]], accelerator: str
) -> LayerStreams:
    weight = layer.weight_ohwi if isinstance(layer, QuantizedConv) else layer.weight_oi[:, None, None, :]
    found = sum(call.output_depth for call in slices)
    if found != weight.shape[0]:
        raise _mismatch(layer, f"{found} output channels in Vela's output, the model has {weight.shape[0]}")
    start, stored = 0, []
    for call in slices:
        _check_registers(layer, call)
        channels = np.arange(start, start + call.output_depth)
        _check_scales(layer, call, channels, flash, accelerator)
        stored.append(_check_weights(layer, call, weight[channels], flash, decoded, accelerator))
        start += call.output_depth
    weight_bytes = sum(range_.length for call in slices for range_ in call.weights)
    scale_bytes = sum(range_.length for call in slices for range_ in call.scales)
    if any(count is None for count in stored):
        return LayerStreams(layer.name, weight_bytes, scale_bytes, NOT_DECODED, None)
    return LayerStreams(layer.name, weight_bytes, scale_bytes, IN_ORDER, sum(count or 0 for count in stored))


def _check_registers(layer: Layer, call: KernelCall) -> None:
    """Zero points, clamp, stride and sizes as the NPU gets them."""
    if isinstance(layer, QuantizedConv):
        clamp, stride, kernel = (layer.clamp_min, layer.clamp_max), layer.stride, (3, 3)
    else:
        clamp, stride, kernel = (-128, 127), 1, (1, 1)
    for what, found, expected in (
        ("zero points", call.zero_points, (layer.input.zero_point, layer.output.zero_point)),
        ("clamp", call.clamp, clamp),
        ("stride", call.stride, stride),
        ("kernel", call.kernel_hw, kernel),
        ("input channels", call.input_depth, layer.indices.shape[-1]),
    ):
        if found != expected:
            raise _mismatch(layer, f"{what} {found} in Vela's output, the model has {expected}")


def _check_scales(layer: Layer, call: KernelCall, channels: NDArray[np.int64], flash: bytes, accelerator: str) -> None:
    """Biases, multipliers and shifts, each exactly ours: 31 − shift is Ethos-U's."""
    multiplier, shift = layer.requantization
    for core, range_ in enumerate(call.scales):
        own = channels[core :: len(call.scales)]
        bias, scale, right = read_scales(_stream(flash, range_.offset, range_.length), len(own), accelerator)
        for what, found, expected in (
            ("bias", bias, layer.bias[own]),
            ("multiplier", scale, multiplier[own]),
            ("shift", right, 31 - shift[own]),
        ):
            if not np.array_equal(found, expected):
                raise _mismatch(layer, f"{what} of {int((found != expected).sum())} channels differ in Vela's output")


def read_scales(
    stream: NDArray[np.uint8], count: int, accelerator: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(bias, multiplier, shift), each (count,), of a scale stream."""
    entries = stream[: count * SCALE_ENTRY_BYTES].reshape(count, SCALE_ENTRY_BYTES).astype(np.int64)
    bias_bytes = 4 if accelerator.startswith("ethos-u85") else 5
    bias = _little_endian(entries[:, :bias_bytes])
    sign = np.int64(1) << (8 * bias_bytes - 1)
    return (bias ^ sign) - sign, _little_endian(entries[:, bias_bytes : bias_bytes + 4]), entries[:, bias_bytes + 4]


def _little_endian(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    return (columns << (8 * np.arange(columns.shape[1]))).sum(axis=1)


def _check_weights(
    layer: Layer,
    call: KernelCall,
    weight_ohwi: NDArray[np.int8],
    flash: bytes,
    decoded: Mapping[str, NDArray[np.int16]],
    accelerator: str,
) -> int | None:
    """Values in one call's streams, filling included, None where their order is unknown.

    `Mismatch` where a value or its place differs.
    """
    order = call_order(call, accelerator)
    if order is None:
        return None
    positions = stream_positions(
        weight_ohwi.shape,
        order,
        block_depth=call.block_depth,
        part_kernel_first=call.part_kernel_first,
        stride=call.stride,
    )
    for range_, places in zip(call.weights, positions, strict=True):
        expected = np.where(places >= 0, weight_ohwi.reshape(-1)[places], 0)
        values = _values(range_, places.size, flash, decoded, order)
        if np.array_equal(values, expected):
            continue
        same = np.array_equal(_nonzero_sorted(values), _nonzero_sorted(expected))
        found = "the model's values at other places" if same else "other values than the model's"
        raise _mismatch(layer, f"the decoded weights are {found}")
    return sum(places.size for places in positions)


def _values(
    range_: FlashRange, count: int, flash: bytes, decoded: Mapping[str, NDArray[np.int16]], order: StreamOrder
) -> NDArray[np.int16]:
    """The `count` values of one stream; empty where the stream is too short for them."""
    if not order.fast:
        return decoded[str(range_.offset)]
    try:
        return decode_fast(_stream(flash, range_.offset, range_.length), count)
    except ValueError:
        return np.empty(0, np.int16)


def _nonzero_sorted(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.sort(values[values != 0], axis=None)


def _mismatch(layer: Layer, found: str) -> Mismatch:
    return Mismatch(
        f"layer {layer.name}: {found}; they must be equal; install the pinned ethos-u-vela and convert again"
    )
