"""The C tables hold the integer model, are read back exactly, and an altered table is found."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from convert.c_layers import layer_symbol
from convert.c_reader import SOURCE_NAME
from convert.c_source import read_c_model, verify_c_model, write_c_model
from convert.integer_model import layer_weight_bytes
from convert.memory_plan import plan_memory
from tests.random_models import random_model
from train.errors import ArtefactError, Mismatch, UnsupportedLayer

MODEL = random_model(5, input_hwc=(9, 7, 3), widths=(5, 8, 6), strides=(2, 1, 2), bit_widths=(8, 4, 3), classes=7)


def _renamed(model, names):
    convs = tuple(dataclasses.replace(conv, name=name) for conv, name in zip(model.convs, names, strict=True))
    return dataclasses.replace(model, convs=convs)


@pytest.fixture
def folder(tmp_path):
    write_c_model(MODEL, tmp_path, source_hash="0123abcd")
    return tmp_path


def test_written_tables_are_read_back_equal(folder):
    written = verify_c_model(MODEL, folder)
    assert written.source_hash == "0123abcd"
    assert written.constants["MODEL_ARENA_BYTES"] == plan_memory(MODEL).arena_bytes
    assert [fields["kind"] for fields in written.layers[-2:]] == ["REPEDGE_AVERAGE_POOL", "REPEDGE_FULLY_CONNECTED"]


def test_table_sizes_are_the_models_weight_bytes(folder):
    arrays = read_c_model(folder).arrays
    for layer in MODEL.layers:
        symbol = layer_symbol(layer.name) + "_"
        assert sum(a.nbytes for name, a in arrays.items() if name.startswith(symbol)) == layer_weight_bytes(layer)


def test_two_writes_give_the_same_bytes(folder, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    write_c_model(MODEL, again, source_hash="0123abcd")
    assert (again / SOURCE_NAME).read_bytes() == (folder / SOURCE_NAME).read_bytes()


@pytest.mark.parametrize("table", ["indices", "codebook", "bias", "multiplier", "shift"])
def test_one_altered_value_is_found_in_its_layer(folder, table):
    path = folder / SOURCE_NAME
    text = path.read_text()
    match = re.search(rf"model_conv1_{table}\[\d+\] = \{{\s+(-?\d+),", text)
    altered = str((int(match[1]) + 1) % 100)
    path.write_text(text[: match.start(1)] + altered + text[match.end(1) :])
    with pytest.raises(Mismatch, match=f"conv1: {table}"):
        verify_c_model(MODEL, folder)


@pytest.mark.parametrize("field", ["input_zero_point", "stride", "clamp_max", "output_offset"])
def test_one_altered_field_is_found_in_its_layer(folder, field):
    path = folder / SOURCE_NAME
    path.write_text(re.sub(rf"(\.{field} = )-?\d+", r"\g<1>99", path.read_text(), count=1))
    with pytest.raises(Mismatch, match=f"conv0: {field}"):
        verify_c_model(MODEL, folder)


def test_truncated_tables_are_an_artefact_error(folder):
    path = folder / SOURCE_NAME
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ArtefactError, match="truncated"):
        read_c_model(folder)


def test_table_of_another_length_than_its_size_is_an_artefact_error(folder):
    path = folder / SOURCE_NAME
    path.write_text(re.sub(r"(\{\n    )\d+, ", r"\1", path.read_text(), count=1))
    with pytest.raises(ArtefactError, match="damaged"):
        read_c_model(folder)


def test_missing_tables_are_an_artefact_error(tmp_path):
    with pytest.raises(ArtefactError, match="convert stage"):
        read_c_model(tmp_path)


def test_dots_of_a_layer_name_become_underscores_in_the_symbol(tmp_path):
    model = _renamed(MODEL, ("stage0.0", "stage1.0", "stage1.1"))
    write_c_model(model, tmp_path, source_hash="x")
    assert "model_stage1_0_indices" in read_c_model(tmp_path).arrays


def test_layers_that_share_a_symbol_are_refused(tmp_path):
    with pytest.raises(UnsupportedLayer, match=r"a_b.*a\.b"):
        write_c_model(_renamed(MODEL, ("a.b", "a_b", "c")), tmp_path, source_hash="x")
    assert not list(tmp_path.iterdir())


def test_accumulator_that_could_leave_int32_is_refused(tmp_path):
    conv = MODEL.convs[0]
    wide = np.full((5, 3, 3, 8000), 1, np.uint8)
    conv = dataclasses.replace(conv, codebook=np.array([0, 127], np.int8), indices=wide)
    model = dataclasses.replace(MODEL, input_hwc=(9, 7, 8000), convs=(conv, *MODEL.convs[1:]))
    with pytest.raises(UnsupportedLayer, match="accumulator"):
        write_c_model(model, tmp_path, source_hash="x")


def test_class_names_survive_quotes_and_any_script(tmp_path):
    names = ('say "x"', "back\\slash", "what??/", "grün", "猫", "tab\there", "0")
    write_c_model(dataclasses.replace(MODEL, class_names=names), tmp_path, source_hash="x")
    assert read_c_model(tmp_path).class_names == names
