"""The exact int8 TFLite file gives the reference's logits in TFLite's reference kernels, and is read back bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tflite_runtime.interpreter as tflite
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.integer_model import Quantization
from convert.reference import quantize_images, run
from convert.tflite_exact import BUFFER_ALIGNMENT_BYTES, build_tflite, verify_tflite, write_tflite
from convert.tflite_read import read_tflite
from tests.random_models import random_images, random_model
from train.errors import ArtefactError, Mismatch, UnsupportedLayer

BATCH = 40


def run_reference_kernels(path, images, batch=BATCH):
    interpreter = tflite.Interpreter(str(path), experimental_op_resolver_type=tflite.OpResolverType.BUILTIN_REF)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, [batch, *images.shape[1:]])
    interpreter.allocate_tensors()
    parts = []
    for start in range(0, len(images), batch):
        interpreter.set_tensor(source, quantize_images(images[start : start + batch]))
        interpreter.invoke()
        parts.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(parts)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation_bits", [8, 4, 2])
@pytest.mark.parametrize("input_hwc", [(8, 8, 1), (11, 7, 3), (10, 13, 3)])
def test_reference_kernels_give_the_reference_logits(tmp_path, per_channel, activation_bits, input_hwc):
    model = random_model(7, input_hwc=input_hwc, activation_bits=activation_bits, per_channel=per_channel)
    images = random_images(np.random.default_rng(1), 2 * BATCH, input_hwc)
    write_tflite(model, tmp_path / "model.tflite")
    logits = run_reference_kernels(tmp_path / "model.tflite", images)
    expected = run(model, images)
    assert np.array_equal(logits, expected)
    assert ((expected == -128) | (expected == 127)).mean() < 0.5  # equal logits mean something


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_reference_kernels_are_exact_on_any_random_model(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("exact") / "model.tflite"
    model = random_model(seed, activation_bits=int(seed % 7) + 2, per_channel=bool(seed & 8))
    images = random_images(np.random.default_rng(seed), BATCH, model.input_hwc)
    write_tflite(model, path)
    assert np.array_equal(run_reference_kernels(path, images), run(model, images))


def test_two_writes_give_equal_bytes():
    assert build_tflite(random_model(1)) == build_tflite(random_model(1))


def test_constants_start_at_multiples_of_16_bytes():
    content = build_tflite(random_model(1))
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert starts
    assert all(start % BUFFER_ALIGNMENT_BYTES == 0 for start in starts)


def test_read_back_names_layer_and_tensor_of_a_flipped_weight_byte(tmp_path):
    model, path = random_model(2), tmp_path / "model.tflite"
    write_tflite(model, path)
    content = bytearray(path.read_bytes())
    content[content.index(model.convs[2].weight_ohwi.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(Mismatch, match="layer conv2, weight: 1 of"):
        verify_tflite(model, path)


@pytest.mark.parametrize("tensor", ["bias", "weight_scale"])
def test_read_back_detects_a_flipped_constant(tmp_path, tensor):
    model, path = random_model(2), tmp_path / "model.tflite"
    write_tflite(model, path)
    content = bytearray(path.read_bytes())
    content[content.index(getattr(model.convs[1], tensor).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(Mismatch, match=f"layer conv1, {tensor}"):
        verify_tflite(model, path)


def test_every_byte_of_the_file_matters_or_is_harmless(tmp_path):
    """A flipped byte is found, or the file still gives the same facts; it never becomes another error."""
    model, path = random_model(2, widths=(4, 4), strides=(1, 2), bit_widths=(4, 4)), tmp_path / "model.tflite"
    content = build_tflite(model)
    for position in np.random.default_rng(0).integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[position] ^= 0x41
        path.write_bytes(damaged)
        try:
            verify_tflite(model, path)
        except (ArtefactError, Mismatch):
            continue
        assert read_tflite(path).digest()


def test_relu6_whose_top_level_is_not_the_clamp_is_an_error():
    model = random_model(3, activation_bits=4)
    scale = np.float32(model.convs[0].output.scale * 1.1)
    first = dataclasses.replace(model.convs[0], output=Quantization(scale, -128))
    second = dataclasses.replace(model.convs[1], input=first.output)
    changed = dataclasses.replace(model, convs=(first, second, *model.convs[2:]))
    with pytest.raises(UnsupportedLayer, match=r"conv0.*needs -113"):
        build_tflite(changed)


def test_truncated_file_is_an_artefact_error(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(build_tflite(random_model(1))[:1000])
    with pytest.raises(ArtefactError, match="run the convert stage again"):
        read_tflite(path)


def test_missing_file_is_an_artefact_error(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        read_tflite(tmp_path / "none.tflite")
