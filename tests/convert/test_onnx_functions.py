"""The ONNX functions against their numpy twins, on values that a trained net would never reach."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from convert.onnx_float import IR_VERSION, OPSET
from convert.onnx_functions import DOMAIN, integer_functions
from convert.packing import pack_indices
from convert.requantize import requantize

UINT8, INT8, INT32 = TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32


def call(function: str, inputs: dict[str, tuple[int, np.ndarray]], kind: int, **attributes: object) -> np.ndarray:
    """The result of one function; `inputs` are name -> (ONNX type, value)."""
    nodes = [helper.make_node(function, list(inputs), ["result"], domain=DOMAIN, **attributes)]
    return run_nodes(nodes, inputs, kind)


def run_nodes(nodes, inputs, kind):
    sources = [helper.make_tensor_value_info(name, type_, value.shape) for name, (type_, value) in inputs.items()]
    graph = helper.make_graph(nodes, "one", sources, [helper.make_tensor_value_info("result", kind, None)])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, functions=integer_functions(), opset_imports=opsets)
    model.ir_version = IR_VERSION
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["result"], {name: value for name, (_, value) in inputs.items()})[0]


@pytest.fixture
def extremes():
    """int32 accumulators (many, 62): the limits, ties of both roundings, and random ones of every magnitude."""
    rng = np.random.default_rng(5)
    magnitudes = 2 ** rng.integers(0, 31, (400, 62))
    values = rng.integers(-magnitudes, magnitudes + 1)
    values[:6] = np.array([-(2**31), 2**31 - 1, 0, -1, 1, 2**30])[:, None]
    return values.astype(np.int32)


def test_requantize_equals_numpy_for_every_shift(extremes):
    shift = np.arange(-31, 31, dtype=np.int8)
    multiplier = np.random.default_rng(6).integers(2**30, 2**31, 62).astype(np.int32)
    multiplier[::7] = 2**30  # powers of two make ties
    shifted = {"accumulator": (INT32, extremes), "multiplier": (INT32, multiplier), "shift": (INT8, shift)}
    nodes = [
        helper.make_node("ShiftLeft", ["accumulator", "shift"], ["left"], domain=DOMAIN),
        helper.make_node(
            "Requantize",
            ["left", "multiplier", "shift"],
            ["result"],
            domain=DOMAIN,
            zero_point=-7,
            lowest=-120,
            highest=99,
        ),
    ]

    found = run_nodes(nodes, shifted, UINT8)

    expected = np.clip(requantize(extremes.astype(np.int64), multiplier, shift.astype(np.int32)) - 7, -120, 99)
    assert np.array_equal(found.astype(int) - 128, expected)
    assert ((expected > -120) & (expected < 99)).mean() > 0.2


@pytest.mark.parametrize("bit_width", range(2, 9))
def test_decoded_weights_are_the_codebooks_entries(bit_width):
    rng = np.random.default_rng(bit_width)
    indices = rng.integers(0, 2**bit_width, (5, 3, 3, 7), dtype=np.uint8)
    codebook = rng.integers(-127, 128, 2**bit_width).astype(np.int8)
    inputs = {"packed": (UINT8, pack_indices(indices, bit_width)), "codebook": (INT8, codebook)}

    found = call(
        "DecodeWeights",
        inputs,
        UINT8,
        row_bits=[63 * bit_width],
        grouping=[0, -1, bit_width],
        powers=[1 << bit for bit in range(bit_width)],
        shape=[5, 3, 3, 7],
        order=[0, 3, 1, 2],
    )

    assert np.array_equal(found.astype(int) - 128, codebook[indices].transpose(0, 3, 1, 2))


def test_plain_weights_are_the_bytes_themselves():
    weight = np.random.default_rng(5).permutation(np.resize(np.arange(-127, 128), 5 * 63)).astype(np.int8)
    packed = pack_indices(weight.view(np.uint8).reshape(5, 63), 8)

    found = call("PlainWeights", {"packed": (UINT8, packed)}, UINT8, shape=[5, 3, 3, 7], order=[0, 3, 1, 2])

    assert np.array_equal(found.astype(int) - 128, weight.reshape(5, 3, 3, 7).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 5), (1, 1)])
def test_average_pool_rounds_half_away_from_zero(height, width):
    values = np.random.default_rng(9).integers(-128, 128, (300, 4, height, width))
    count = height * width

    found = call("AveragePool", {"input": (UINT8, (values + 128).astype(np.uint8))}, UINT8, count=count)

    total = values.sum(axis=(2, 3))
    assert np.array_equal(found.astype(int) - 128, np.sign(total) * ((np.abs(total) + count // 2) // count))
