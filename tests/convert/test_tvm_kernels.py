"""The TensorIR kernels, run by TVM's own virtual machine, against the numpy reference."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from convert.reference import quantize_images, run
from convert.requantize import requantize
from convert.tvm_kernels import requantize as requantize_expression
from convert.tvm_module import build_tvm_module
from tests.random_models import random_images, random_model

NETS = {
    "grey, every bit width below 8, odd sizes": {
        "input_hwc": (9, 7, 1),
        "widths": (5, 16, 8, 7, 16, 9),
        "strides": (2, 1, 1, 2, 1, 1),
        "bit_widths": (7, 6, 5, 4, 3, 2),
    },
    "colour, per tensor, 4-bit activations": {
        "input_hwc": (8, 8, 3),
        "widths": (16, 16, 24),
        "strides": (1, 2, 2),
        "bit_widths": (8, 4, 3),
        "activation_bits": 4,
        "per_channel": False,
    },
    "odd channels, 2-bit activations": {
        "input_hwc": (5, 13, 3),
        "widths": (11, 32),
        "strides": (2, 1),
        "bit_widths": (2, 8),
        "activation_bits": 2,
        "classes": 3,
    },
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_module_gives_the_logits_of_the_reference(net):
    model = random_model(11, **net)
    images = random_images(np.random.default_rng(12), 24, model.input_hwc)
    machine = relax.VirtualMachine(tvm.compile(build_tvm_module(model), target="llvm"), tvm.cpu())

    logits = [machine["main"](tvm.runtime.tensor(image)).numpy() for image in quantize_images(images)]

    assert np.array_equal(np.stack(logits), run(model, images))


@pytest.mark.parametrize("shifts", [range(-31, 1), range(-31, 31)], ids=["right only", "left too"])
def test_requantize_expression_equals_reference(shifts):
    rng = np.random.default_rng(13)
    edges = [0, 1, -1, 2, -2, 3, -3, 2**30, -(2**30), 2**31 - 1, -(2**31)]
    accumulators = np.append(edges, rng.integers(-(2**31), 2**31, 989)).astype(np.int32)
    small = np.append(edges, rng.integers(-4096, 4096, 989)).astype(np.int32)
    shift = np.resize(np.array(shifts, np.int8), 2000)
    # 2^30 is the multiplier of exact powers of two, where ties are
    multiplier = np.where(rng.random(2000) < 0.5, 2**30, rng.integers(2**30, 2**31, 2000)).astype(np.int32)
    values = np.concatenate([accumulators, small])

    found = _run_expression(values, multiplier, shift, left=max(shifts) > 0)

    assert np.array_equal(found, requantize(values.astype(np.int64), multiplier, shift.astype(np.int32)))


def _run_expression(values, multiplier, shift, *, left):
    count = len(values)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"global_symbol": "main"})
        value, factor, exponent = (
            T.arg(name, T.buffer((count,), dtype)) for name, dtype in (("a", "int32"), ("b", "int32"), ("c", "int8"))
        )
        output = T.arg("d", T.buffer((count,), "int64"))
        with T.serial(0, count) as k:
            T.buffer_store(output, requantize_expression(value[k], factor[k], exponent[k], left=left), [k])
    compiled = tvm.compile(tvm.IRModule({"main": builder.get()}), target="llvm")
    result = tvm.runtime.tensor(np.zeros(count, np.int64))
    compiled["main"](*map(tvm.runtime.tensor, (values, multiplier, shift)), result)
    return result.numpy()
