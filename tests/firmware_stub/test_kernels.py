"""Every portable kernel against the numpy reference, over random layers, plainly and under sanitizers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert import reference, requantize
from convert.c_layers import layer_tables
from convert.integer_model import Quantization, QuantizedConv, QuantizedFullyConnected
from tests.random_models import random_codebook

KINDS = {"conv": 0, "pool": 1, "fully_connected": 2}
REQUANTIZE = 3
SIDES = (1, 2, 3, 4, 5, 7, 8, 13)
CHANNELS_IN = (1, 2, 3, 4, 5, 8, 17)
CHANNELS_OUT = (1, 2, 3, 4, 5, 8, 11)


def _case(kind, value, output_hwc, layer=None):
    """The driver's bytes of one layer and one input (H, W, C)."""
    tables = layer_tables(layer) if layer else {}
    conv = isinstance(layer, QuantizedConv)
    facts = [
        *value.shape,
        *output_hwc,
        layer.stride if conv else 1,
        layer.bit_width if layer else 0,
        layer.input.zero_point if layer else 0,
        layer.output.zero_point if layer else 0,
        layer.clamp_min if conv else -128,
        layer.clamp_max if conv else 127,
    ]
    head = np.array([KINDS[kind], *facts], "<i4").tobytes()
    return head + b"".join(table.tobytes() for table in tables.values()) + value.tobytes()


def _weights(rng, shape, bit_width):
    """Codebook (sometimes shorter than 2^b entries), indices and bias of random weights."""
    codebook = random_codebook(rng, bit_width, entries=int(rng.integers(1, min(2**bit_width, 255) + 1)))
    indices = rng.integers(0, codebook.size, shape, dtype=np.uint8)
    return codebook, indices, rng.integers(-3000, 3000, shape[0]).astype(np.int32)


def _random_conv(rng, stride, bit_width, channels_in):
    """A convolution and an input whose outputs lie mostly inside the clamps."""
    channels_out = int(rng.choice(CHANNELS_OUT))
    codebook, indices, bias = _weights(rng, (channels_out, 3, 3, channels_in), bit_width)
    given = Quantization(np.float32(0.02), int(rng.integers(-128, 128)))
    output = Quantization(np.float32(1.0), int(rng.integers(-128, 60)))
    scale = rng.uniform(0.005, 0.02, channels_out if rng.random() < 0.5 else 1).astype(np.float32)
    activation_bits = int(rng.integers(2, 9))
    conv = QuantizedConv(
        "conv", stride, given, output, activation_bits, bit_width, codebook, indices, scale, bias
    )  # its output scale follows from its accumulators
    value = rng.integers(-128, 128, (int(rng.choice(SIDES)), int(rng.choice(SIDES)), channels_in)).astype(np.int8)
    real = np.abs(reference.accumulate(conv, value[None]) * (0.02 * scale.astype(np.float64)))
    levels = conv.clamp_max - conv.clamp_min
    fitting = Quantization(np.float32(max(real.max(), 1e-3) / levels), output.zero_point)
    return dataclasses.replace(conv, output=fitting), value


def test_convolution_equals_the_reference(run_cases):
    rng = np.random.default_rng(7)
    cases, expected = b"", []
    for number in range(280):
        stride, bit_width = 1 + number % 2, 2 + number // 2 % 7
        conv, value = _random_conv(rng, stride, bit_width, CHANNELS_IN[number // 14 % len(CHANNELS_IN)])
        expected.append(reference.convolve(conv, value[None])[0])
        cases += _case("conv", value, expected[-1].shape, conv)
    wanted = b"".join(output.tobytes() for output in expected)
    assert run_cases(cases) == wanted
    # not a comparison of clamped values only
    assert np.mean([len(np.unique(output)) for output in expected]) > 8


def test_fully_connected_equals_the_reference(run_cases):
    rng = np.random.default_rng(8)
    cases, wanted = b"", b""
    for number in range(70):
        bit_width, channels = 2 + number % 7, int(rng.integers(1, 70))
        codebook, indices, bias = _weights(rng, (int(rng.integers(2, 12)), channels), bit_width)
        given = Quantization(np.float32(0.02), int(rng.integers(-128, 128)))
        output = Quantization(np.float32(0.02 * 0.01 * 80 * np.sqrt(channels)), int(rng.integers(-60, 60)))
        scale = rng.uniform(0.005, 0.02, len(bias) if number % 2 else 1).astype(np.float32)
        layer = QuantizedFullyConnected("fc", given, output, bit_width, codebook, indices, scale, bias)
        value = rng.integers(-128, 128, (1, 1, channels)).astype(np.int8)
        logits = reference.fully_connected(layer, value[0])
        cases += _case("fully_connected", value, (1, 1, len(bias)), layer)
        wanted += logits.tobytes()
    assert run_cases(cases) == wanted


def test_average_pool_equals_the_reference_at_ties_too(run_cases):
    rng = np.random.default_rng(9)
    values = [rng.integers(-128, 128, (h, w, 5)).astype(np.int8) for h in SIDES for w in SIDES]
    ties = [np.array(pair, np.int8).reshape(2, 1, 1) for pair in ((0, 1), (0, -1), (127, 126), (-128, -127), (-3, 4))]
    cases, wanted = b"", b""
    for value in values + ties:
        cases += _case("pool", value, (1, 1, value.shape[2]))
        wanted += reference.average_pool(value[None]).tobytes()
    assert run_cases(cases) == wanted


@pytest.mark.parametrize("shifts", [range(-31, 0), range(31)], ids=["right", "left"])
def test_requantize_equals_numpy_on_edge_values(run_cases, shifts):
    powers = np.array([1 << k for k in range(31)], np.int64)
    edges = np.concatenate([powers, powers - 1, powers + 1])
    accumulators = np.unique(np.concatenate([edges, -edges, [2**31 - 1, -(2**31)]]))
    multipliers = np.array([0, 2**30, 2**30 + 1, 3 * 2**29, 2**31 - 2, 2**31 - 1])
    grid = np.meshgrid(accumulators, multipliers, np.array(shifts), indexing="ij")
    accumulator, multiplier, shift = (part.reshape(-1) for part in grid)
    expected = requantize.requantize(accumulator, multiplier.astype(np.int32), shift.astype(np.int32))
    head = np.array([REQUANTIZE, accumulator.size], "<u4").tobytes()
    cases = head + b"".join(part.astype("<i4").tobytes() for part in (accumulator, multiplier, shift))
    assert np.array_equal(np.frombuffer(run_cases(cases), "<i4"), expected)


def test_accumulators_that_leave_int32_wrap_as_in_the_reference(run_cases):
    given, output = Quantization(np.float32(1), -128), Quantization(np.float32(2.0**24), 0)
    bias = np.array([2**31 - 1, -(2**31)], np.int32)
    layer = QuantizedFullyConnected(
        "fc",
        given,
        output,
        2,
        np.array([127, -127], np.int8),
        np.array([[0], [1]], np.uint8),
        np.ones(1, np.float32),
        bias,
    )
    value = np.full((1, 1, 1), 127, np.int8)
    wanted = reference.fully_connected(layer, value[0]).tobytes()
    assert run_cases(_case("fully_connected", value, (1, 1, 2), layer)) == wanted
