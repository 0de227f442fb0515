"""The int4 file holds the same integers in half the weight bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from convert.tflite_exact import build_tflite, pack_int4, verify_tflite
from convert.tflite_int4 import int4_layers, write_int4_tflite
from convert.tflite_read import read_tflite
from tests.random_models import model_on_int4_grid, random_model
from train.errors import Mismatch


def test_layers_on_the_grid_are_int4_and_the_others_stay_int8(tmp_path):
    model = model_on_int4_grid(3, layers=("conv1", "conv3"))

    assert write_int4_tflite(model, tmp_path / "model.tflite") == ("conv1", "conv3")

    graph = schema.ModelT.InitFromPackedBuf((tmp_path / "model.tflite").read_bytes(), 0).subgraphs[0]
    kinds = {tensor.name.decode(): tensor.type for tensor in graph.tensors}
    weights = {name: kind for name, kind in kinds.items() if name.endswith("/weight")}
    assert {name for name, kind in weights.items() if kind == schema.TensorType.INT4} == {
        "conv1/weight",
        "conv3/weight",
    }
    assert set(weights.values()) == {schema.TensorType.INT4, schema.TensorType.INT8}


def test_both_files_read_back_as_the_same_facts(tmp_path):
    model = model_on_int4_grid(4, layers=("conv0", "conv2"))
    (tmp_path / "int8.tflite").write_bytes(build_tflite(model))
    write_int4_tflite(model, tmp_path / "int4.tflite")

    assert read_tflite(tmp_path / "int4.tflite").digest() == read_tflite(tmp_path / "int8.tflite").digest()


def test_int4_layers_take_half_the_bytes():
    model = model_on_int4_grid(5, layers=("conv1", "conv4"))
    saved = sum(conv.indices.size - (conv.indices.size + 1) // 2 for conv in (model.convs[1], model.convs[4]))

    smaller = len(build_tflite(model)) - len(build_tflite(model, int4_layers=("conv1", "conv4")))

    # one more operator code and alignment are all else that changes
    assert abs(smaller - saved) < 128


def test_without_a_codebook_on_the_grid_no_file_is_written(tmp_path):
    assert write_int4_tflite(random_model(6), tmp_path / "model.tflite") == ()
    assert not (tmp_path / "model.tflite").exists()


@pytest.mark.parametrize(("entry", "fits"), [(-8, True), (7, True), (-9, False), (8, False)])
def test_the_grid_ends_at_its_limits(entry, fits):
    model = model_on_int4_grid(7, layers=("conv1",))
    codebook = model.convs[1].codebook.copy()
    codebook[0] = entry
    conv = dataclasses.replace(model.convs[1], codebook=codebook)
    changed = dataclasses.replace(model, convs=(model.convs[0], conv, *model.convs[2:]))

    assert ("conv1" in int4_layers(changed)) == fits


def test_a_flipped_bit_of_an_int4_weight_names_the_layer(tmp_path):
    model, path = model_on_int4_grid(8, layers=("conv1",)), tmp_path / "model.tflite"
    write_int4_tflite(model, path)
    content = bytearray(path.read_bytes())
    content[content.index(pack_int4(model.convs[1].weight_ohwi).tobytes()) + 9] ^= 0x40
    path.write_bytes(content)

    with pytest.raises(Mismatch, match="layer conv1, weight: 1 of"):
        verify_tflite(model, path)


@given(st.lists(st.integers(-8, 7), min_size=1, max_size=33))
def test_packed_nibbles_hold_every_value(values):
    packed = pack_int4(np.array(values, np.int8))
    halves = [half for byte in packed.tolist() for half in (byte & 15, byte >> 4)][: len(values)]
    assert [half - 16 if half > 7 else half for half in halves] == values
