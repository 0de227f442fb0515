"""Variants of a float net, trained and added to a zoo of their own: recipes, resume, failures, and going on from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import benchmarks.zoo_train as zoo_train
import train.zoo
from benchmarks.zoo_add import LARGEST_BYTES, add_run
from convert.stage import merge_and_lower
from repedge.cli import main
from repedge.recipe import load_recipe
from train.artefact import sha256_file
from train.errors import ConfigError
from train.zoo import ZOO, load_index

FLOAT_RECIPE = """
name: tiny
seed: 5
data: {name: digits, validation_share: 0.2}
model: {widths: [4, 8], depths: [1, 2], strides: [1, 2]}
norm: {kind: oabn, bound: constant}
train: {float_phase: {epochs: 1}, qat_phase: {epochs: 0}, threads: 1}
deploy: {targets: []}
"""
SETTINGS = {
    "base": {"train.qat_phase.epochs": 1, "train.qat_phase.learning_rate": 0.01},
    "sizes": {"tiny": {"train.qat_phase.batch_size": 64}},
    "variants": {"w8a8": {}, "w4a8": {}, "w3a8": {}, "w2a8": {"train.qat_phase.epochs": 2}, "w4a4": {}},
    "nets": {"tiny-w4a8": {"train.qat_phase.epochs": 3}},
}
SOURCE = "zoo:digits-tiny-float"


@pytest.fixture(scope="module")
def float_run(tmp_path_factory) -> Path:
    """A run folder of a trained float net."""
    folder = tmp_path_factory.mktemp("float")
    (folder / "tiny.yaml").write_text(FLOAT_RECIPE)
    assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "tiny"), "--quiet"]) == 0
    return folder / "tiny"


@pytest.fixture
def zoo(float_run, tmp_path, monkeypatch) -> Path:
    """A zoo that holds the float net; trainings run in this process, which knows of it."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "index.json").write_text('{"models": []}')
    monkeypatch.setattr(train.zoo, "ZOO", folder)
    add_run(float_run, "digits-tiny-float", zoo=folder)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))

    monkeypatch.setattr(zoo_train, "run_logged", lambda command, log: main([*command[3:], "--quiet"]))
    return folder


def run(tmp_path: Path, *extra: str) -> int:
    paths = {"settings": "settings.yaml", "runs": "runs", "zoo": "zoo"}
    named = [part for name, path in paths.items() for part in (f"--{name}", str(tmp_path / path))]
    return zoo_train.main(["--from", SOURCE, *named, *extra])


def test_all_variants_are_trained_added_and_can_be_fetched_started_from_and_converted(zoo, tmp_path):
    assert run(tmp_path, "--add") == 0
    models = {model.name: model for model in load_index(zoo).models}
    assert sorted(models) == [f"digits-tiny-{kind}" for kind in ("float", "w2a8", "w3a8", "w4a4", "w4a8", "w8a8")]
    for name, model in models.items():
        assert sum(path.stat().st_size for path in (zoo / name).iterdir()) <= LARGEST_BYTES
        assert model.files["float.safetensors"] == models["digits-tiny-float"].files["float.safetensors"]
    by_bits = [models[f"digits-tiny-{kind}"].weight_bytes for kind in ("w2a8", "w3a8", "w4a8", "w8a8")]
    assert by_bits == sorted(by_bits) and len(set(by_bits)) == 4
    for kind in SETTINGS["variants"]:
        assert main(["zoo", "get", f"digits-tiny-{kind}", "--out", str(tmp_path / kind)]) == 0
        quantize = load_recipe(tmp_path / kind / "recipe.yaml").quantize
        lowered = merge_and_lower(tmp_path / kind / "train", quantize, calibration_images=None).model
        assert lowered.weight_bytes == models[f"digits-tiny-{kind}"].weight_bytes
        assert {conv.activation_bits for conv in lowered.convs} == {quantize.activations.bit_width}


def test_qat_starts_from_a_variants_float_net(zoo, tmp_path):
    assert run(tmp_path, "--variants", "w3a8", "--add") == 0
    recipe = tmp_path / "runs" / "digits-tiny-w3a8.yaml"
    again = ["--set", "train.start_from=zoo:digits-tiny-w3a8"]
    assert main(["train", str(recipe), "--out", str(tmp_path / "out"), "--quiet", *again]) == 0
    trained = [
        folder / "train" / "qat.safetensors" for folder in (tmp_path / "out", tmp_path / "runs/digits-tiny-w3a8")
    ]
    assert sha256_file(trained[0]) == sha256_file(trained[1])


def test_the_same_command_trains_nothing_again_and_keeps_what_the_zoo_holds(zoo, tmp_path, capsys):
    assert run(tmp_path, "--variants", "w3a8", "--add") == 0
    before = (
        sha256_file(zoo / "index.json"),
        (tmp_path / "runs/digits-tiny-w3a8/train/manifest.json").stat().st_mtime_ns,
    )
    assert run(tmp_path, "--variants", "w3a8", "--add") == 0
    after = sha256_file(zoo / "index.json"), (tmp_path / "runs/digits-tiny-w3a8/train/manifest.json").stat().st_mtime_ns
    assert after == before
    assert "the zoo holds one already, kept" in capsys.readouterr().err


def test_a_recipe_takes_data_seed_norm_from_the_float_net_and_settings_from_broad_to_narrow(zoo, tmp_path):
    assert run(tmp_path, "--only-recipes") == 0
    recipe, source = (
        load_recipe(tmp_path / "runs" / "digits-tiny-w2a8.yaml"),
        load_recipe(zoo / SOURCE[4:] / "recipe.yaml"),
    )
    assert (recipe.seed, recipe.data, recipe.model, recipe.norm) == (
        source.seed,
        source.data,
        source.model,
        source.norm,
    )
    assert recipe.train.start_from == SOURCE
    phase = recipe.train.qat_phase
    assert (phase.epochs, phase.batch_size, phase.learning_rate) == (2, 64, 0.01)
    assert load_recipe(tmp_path / "runs" / "digits-tiny-w4a8.yaml").train.qat_phase.epochs == 3  # the one net's own
    bits = [load_recipe(tmp_path / "runs" / f"digits-tiny-{kind}.yaml").quantize for kind in ("w2a8", "w4a4")]
    assert [(q.weights.bit_width, q.activations.bit_width) for q in bits] == [(2, 8), (4, 4)]


def test_a_failed_training_is_told_with_the_end_of_its_log_and_the_others_are_added(zoo, tmp_path, capsys, monkeypatch):
    here = zoo_train.run_logged

    def fail_w4a8(command: list[str], log: Path) -> int:
        if "w4a8" in log.name:
            log.write_text("error: the reason\n")
            return 2
        return here(command, log)

    monkeypatch.setattr(zoo_train, "run_logged", fail_w4a8)
    assert run(tmp_path, "--variants", "w4a8,w3a8", "--add") == 3
    assert "digits-tiny-w4a8: repedge train ended with exit code 2" in (told := capsys.readouterr().err)
    assert "error: the reason" in told
    assert [model.name for model in load_index(zoo).models] == ["digits-tiny-float", "digits-tiny-w3a8"]


def test_an_unknown_variant_names_the_known_ones(zoo, tmp_path, capsys):
    assert run(tmp_path, "--variants", "w5a8") == 2
    assert "allowed are w2a8, w3a8, w4a4, w4a8, w8a8" in capsys.readouterr().err


def test_output_of_a_command_goes_to_the_end_of_its_log(tmp_path):
    (tmp_path / "log").write_text("before\n")
    assert zoo_train.run_logged(["sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path / "log") == 3
    assert (tmp_path / "log").read_text() == "before\nout\nerr\n"


def test_a_quantized_model_is_no_source():
    with pytest.raises(ConfigError, match="not a float net"):
        zoo_train.variant_name("zoo:cifar10-m-w4a8", "w3a8", load_recipe(ZOO / "cifar10-m-w4a8" / "recipe.yaml"))


def test_a_variant_of_a_named_float_net_keeps_its_name():
    recipe = load_recipe(ZOO / "cifar10-m-float" / "recipe.yaml")
    assert zoo_train.variant_name("zoo:cifar10-m-float-long", "w3a8", recipe) == ("m", "cifar10-m-w3a8-long")


@pytest.mark.parametrize("size", ["xs", "s", "m"])
def test_the_shipped_settings_give_a_recipe_for_every_variant_of_the_zoo(size, tmp_path):
    settings = zoo_train.load_settings(zoo_train.SETTINGS)
    assert list(settings.variants) == ["w8a8", "w4a8", "w3a8", "w2a8", "w4a4"]
    for variant in settings.variants:
        job = zoo_train.make_job(f"zoo:cifar10-{size}-float", variant, settings, tmp_path)
        assert job.name == f"cifar10-{size}-{variant}"
        assert job.recipe.train.qat_phase.distillation.kind == "float"
