"""What is in the TVM module: packed constants, equal to the integer model's, on disk as in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convert.integer_model import IntegerModel
from convert.tvm_module import (
    FILE_NAME,
    build_tvm_module,
    kernel_calls,
    load_tvm_module,
    verify_tvm_module,
    write_tvm_module,
)
from tests.random_models import random_model
from train.errors import ArtefactError, Mismatch


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    return random_model(21)


def test_constants_are_the_packed_bytes_and_nothing_else(model):
    constants = [array for call in kernel_calls(build_tvm_module(model)) for array in call.constants.values()]

    assert sum(array.nbytes for array in constants) == model.weight_bytes


def test_no_constant_has_the_size_of_a_layers_expanded_weights():
    model = random_model(22, widths=(16, 24, 32), strides=(1, 2, 1), bit_widths=(4, 3, 2))
    calls = kernel_calls(build_tvm_module(model))

    for call, conv in zip(calls, model.convs, strict=False):
        assert max(array.nbytes for array in call.constants.values()) < conv.indices.size


def test_file_is_equal_in_two_builds(model, tmp_path):
    first = write_tvm_module(model, tmp_path / "first")
    second = write_tvm_module(model, tmp_path / "second")

    assert first.relative_to(tmp_path / "first").as_posix() == FILE_NAME
    assert first.read_bytes() == second.read_bytes()


def test_layers_of_equal_shape_share_a_kernel_and_keep_their_constants():
    model = random_model(23, widths=(8, 8, 8), strides=(1, 1, 1), bit_widths=(4, 4, 4))
    # equal shifts' signs, scales and zero points make the second and third layer's kernels equal
    module = build_tvm_module(model)
    calls = kernel_calls(module)

    assert calls[1].symbol == calls[2].symbol
    assert calls[1].name != calls[2].name
    verify_tvm_module(module, model)


@pytest.mark.parametrize("field", ["indices", "codebook", "bias"])
def test_changed_constant_is_a_mismatch_naming_the_layer(model, field):
    conv = model.convs[2]
    changed = getattr(conv, field).copy()
    changed.reshape(-1)[3] ^= 1
    altered = dataclasses.replace(conv, **{field: changed})
    other = dataclasses.replace(model, convs=(*model.convs[:2], altered, *model.convs[3:]))

    with pytest.raises(Mismatch, match="layer conv2"):
        verify_tvm_module(build_tvm_module(other), model)


def test_module_of_another_net_is_a_mismatch(model):
    other = random_model(24, widths=(8, 8), strides=(1, 2), bit_widths=(4, 4))

    with pytest.raises(Mismatch, match="allowed is layer0_conv0"):
        verify_tvm_module(build_tvm_module(other), model)


def test_shift_is_stored_without_loss(model):
    for call, layer in zip(kernel_calls(build_tvm_module(model))[:-2], model.convs, strict=True):
        assert np.array_equal(call.constants["shift"], layer.requantization[1])


@pytest.mark.parametrize("content", [None, "", '{"root_index": 3', "[]"], ids=["missing", "empty", "cut", "other"])
def test_damaged_file_is_one_clear_error(content, tmp_path):
    path = tmp_path / "module.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ArtefactError, match=r"module\.json"):
        load_tvm_module(path)
