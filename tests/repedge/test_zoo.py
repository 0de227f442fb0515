"""The zoo: a finished training is added, found, fetched as a run folder, and started from; damage is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import train.zoo
from benchmarks.zoo_add import add_run
from convert.integer_model import IntegerModel
from convert.integer_model_file import save_integer_model
from convert.stage import merge_and_lower
from repedge.cli import main
from repedge.recipe import load_recipe
from repedge.zoo import make_run_folder
from train.artefact import read_manifest, sha256_file
from train.errors import ArtefactError, ConfigError
from train.zoo import ZOO, load_index, model_folder

NAME = "digits-tiny-w3a8"
RECIPE = """
name: tiny
data: {name: digits}
model: {widths: [4, 8], depths: [1, 2], strides: [1, 2]}
train: {float_phase: {epochs: 1}, qat_phase: {epochs: 1}, threads: 1}
quantize: {weights: {bit_width: 3}}
deploy: {targets: []}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with a finished training."""
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    assert main(["train", str(recipe), "--out", str(folder / "tiny"), "--quiet"]) == 0
    return folder / "tiny"


@pytest.fixture
def zoo(run, tmp_path, monkeypatch) -> Path:
    """A zoo that holds the run's net and its float net."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "index.json").write_text('{"models": []}')
    monkeypatch.setattr(train.zoo, "ZOO", folder)
    add_run(run, NAME, zoo=folder)
    return folder


def lowered(run: Path) -> IntegerModel:
    """What a run folder's training lowers to."""
    return merge_and_lower(run / "train", load_recipe(run / "recipe.yaml").quantize).model


def start_recipe(tmp_path: Path, *, qat_epochs: int, start: str = f"zoo:{NAME}") -> Path:
    path = tmp_path / "start.yaml"
    content = RECIPE.replace("float_phase: {epochs: 1}", f"start_from: '{start}'").replace("name: tiny", "name: start")
    path.write_text(content.replace("qat_phase: {epochs: 1}", f"qat_phase: {{epochs: {qat_epochs}}}"))
    return path


def test_the_index_states_what_the_training_measured(run, zoo):
    model = load_index(zoo).models[0]
    metrics = read_manifest(run / "train").metrics
    assert model.top1_test == metrics["accuracy"]["qat"]["top1"]
    assert model.data_sha256 == metrics["dataset"]["sha256"]
    assert (model.weight_bits, model.activation_bits, model.seed) == (3, 8, 0)
    found = lowered(run)
    assert (model.weight_bytes, model.parameters, model.macs) == (found.weight_bytes, found.parameters, found.macs)


def test_adding_the_same_run_twice_gives_the_same_bytes(run, zoo):
    before = {path.name: sha256_file(path) for path in [*(zoo / NAME).iterdir(), zoo / "index.json"]}
    created = json.loads((zoo / NAME / "manifest.json").read_text())["created_utc"]
    add_run(run, NAME, zoo=zoo, force=True)
    after = {path.name: sha256_file(path) for path in [*(zoo / NAME).iterdir(), zoo / "index.json"]}
    assert created == json.loads((zoo / NAME / "manifest.json").read_text())["created_utc"]
    assert before == after


@pytest.mark.parametrize("name", ["digits-tiny-w4a8", "cifar10-tiny-w3a8", "tiny", "digits-tiny-float"])
def test_a_name_that_contradicts_the_run_is_refused(run, zoo, name):
    with pytest.raises(ConfigError, match="allowed is digits-<size>-w3a8"):
        add_run(run, name, zoo=zoo)


def test_a_fetched_run_converts_to_the_integers_of_the_original_training(run, zoo, tmp_path):
    make_run_folder(NAME, tmp_path / "got")
    save_integer_model(lowered(run), tmp_path / "original.safetensors")
    recipe = tmp_path / "got" / "recipe.yaml"
    assert main(["train", str(recipe), "--out", str(tmp_path / "got"), "--quiet"]) == 0
    assert (tmp_path / "got" / "train" / "integer_model.safetensors").is_file()  # nothing was trained anew
    assert main(["convert", str(recipe), "--out", str(tmp_path / "got"), "--quiet"]) == 0
    converted = tmp_path / "got" / "convert" / "integer_model.safetensors"
    assert sha256_file(converted) == sha256_file(tmp_path / "original.safetensors")


def test_a_recipe_without_training_converts_what_it_starts_from(zoo, tmp_path):
    recipe = start_recipe(tmp_path, qat_epochs=0)
    assert main(["convert", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    converted = tmp_path / "out" / "convert" / "integer_model.safetensors"
    assert sha256_file(converted) == load_index(zoo).models[0].sha256


def test_a_training_without_epochs_keeps_the_quantized_net_and_its_accuracy(zoo, tmp_path):
    recipe = start_recipe(tmp_path, qat_epochs=0)
    assert main(["train", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    kept = tmp_path / "out" / "train"
    assert sha256_file(kept / "integer_model.safetensors") == load_index(zoo).models[0].sha256
    assert read_manifest(kept).metrics["accuracy"]["qat"] == read_manifest(zoo / NAME).metrics["accuracy"]["qat"]


@pytest.mark.parametrize("kind", ["zoo", "run folder"])
def test_qat_starts_from_the_sources_float_net(run, zoo, tmp_path, kind):
    recipe = start_recipe(tmp_path, qat_epochs=1, start=f"zoo:{NAME}" if kind == "zoo" else str(run))
    assert main(["train", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    kept = tmp_path / "out" / "train"
    assert sha256_file(kept / "float.safetensors") == sha256_file(run / "train" / "float.safetensors")
    # the same QAT phase on the same float net
    assert sha256_file(kept / "qat.safetensors") == sha256_file(run / "train" / "qat.safetensors")


def test_convert_before_a_qat_that_the_recipe_asks_for_is_refused(zoo, tmp_path, capsys):
    recipe = start_recipe(tmp_path, qat_epochs=2)
    assert main(["convert", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "not trained yet" in capsys.readouterr().err


def test_an_unknown_name_is_told_its_neighbours(zoo):
    with pytest.raises(ConfigError, match=f"did you mean {NAME}"):
        model_folder("digits-tiny-w3a4")


@pytest.mark.parametrize("file", ["float.safetensors", "integer_model.safetensors", "recipe.yaml", "manifest.json"])
def test_a_damaged_file_is_named(zoo, file):
    content = (zoo / NAME / file).read_bytes()
    (zoo / NAME / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtefactError, match=f"{file}: SHA-256"):
        model_folder(NAME)


def test_another_training_is_not_replaced_without_force(run, zoo, tmp_path):
    make_run_folder(NAME, tmp_path / "got")
    make_run_folder(NAME, tmp_path / "got")
    manifest = tmp_path / "got" / "train" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"key": "', '"key": "0'))
    with pytest.raises(ConfigError, match="holds another training"):
        make_run_folder(NAME, tmp_path / "got")
    make_run_folder(NAME, tmp_path / "got", force=True)


def test_list_shows_every_model_also_as_json(zoo, capsys):
    assert main(["zoo", "list"]) == 0
    assert NAME in capsys.readouterr().out
    assert main(["zoo", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["name"] == NAME


def test_every_model_of_the_project_is_whole():
    for model in load_index(ZOO).models:
        folder = model_folder(model.name, ZOO)
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 1_500_000
