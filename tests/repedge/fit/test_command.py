"""`repedge fit` from the command line: the budget holds as encoded, the impossible one is told, the result is a run."""

from __future__ import annotations

import json
import shutil
from xml.etree import ElementTree

import pytest
import yaml

from convert.stage import merge_and_lower
from repedge.cli import main
from repedge.fit import sensitivity
from repedge.recipe import load_recipe

BUDGET = 900


def fit(run, out, *extra: str) -> list[str]:
    return ["fit", str(run), "--out", str(out), "--images", "64", "--quiet", *extra]


@pytest.fixture(scope="module")
def fitted(small_run, tmp_path_factory):
    """A fit with QAT under a limit on weight bytes."""
    out = tmp_path_factory.mktemp("fitted") / "small-fit"
    assert main(fit(small_run, out, "--weight-bytes", str(BUDGET))) == 0
    return out


def test_the_trained_net_keeps_the_budget_as_encoded(fitted, small_net):
    recipe = load_recipe(fitted / "recipe.yaml")
    model = merge_and_lower(fitted / "train", recipe.quantize, small_net.calibration(1)[0]).model
    facts = json.loads((fitted / "fit" / "fit.json").read_text())
    assert model.weight_bytes == facts["weight_bytes"] <= BUDGET
    assert {layer.name: layer.bit_width for layer in model.layers} == facts["bits"] == recipe.quantize.weights.layers
    assert recipe.budget.model.weight_bytes == BUDGET
    assert facts["budget_after_training"]["passed"]


def test_the_next_command_finds_the_training_up_to_date(fitted, capsys):
    assert main(["train", str(fitted / "recipe.yaml"), "--out", str(fitted)]) == 0
    assert "train    up to date" in capsys.readouterr().err


def test_a_second_fit_measures_and_trains_nothing_again(fitted, small_run, monkeypatch, capsys):
    monkeypatch.setattr(sensitivity, "_loss", lambda *given: pytest.fail("measured again"))
    before = (fitted / "fit" / "fit.json").read_bytes(), (fitted / "fit" / "pareto.html").read_bytes()
    trained = (fitted / "train" / "manifest.json").read_bytes()
    assert main(fit(small_run, fitted, "--weight-bytes", str(BUDGET))) == 0
    assert "next: repedge run" in capsys.readouterr().out
    assert ((fitted / "fit" / "fit.json").read_bytes(), (fitted / "fit" / "pareto.html").read_bytes()) == before
    assert (fitted / "train" / "manifest.json").read_bytes() == trained


def test_the_plot_is_whole_and_loads_nothing(fitted):
    root = ElementTree.parse(fitted / "fit" / "pareto.svg").getroot()
    assert root.tag.endswith("svg")
    page = (fitted / "fit" / "pareto.html").read_text()
    assert "<svg" in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    points = json.loads((fitted / "fit" / "pareto.json").read_text())
    assert {"front", "greedy", "uniform", "chosen"} <= set(points)


def smallest_feasible(small_run, tmp_path, capsys) -> int:
    assert main(fit(small_run, tmp_path / "none", "--weight-bytes", "1", "--no-train", "--json")) == 1
    facts = json.loads(capsys.readouterr().out)
    assert not facts["feasible"] and facts["worst_layer"] == "stage2.1"
    return facts["smallest_feasible"]


def test_one_byte_below_the_smallest_feasible_is_exit_1_and_the_smallest_itself_fits(small_run, tmp_path, capsys):
    smallest = smallest_feasible(small_run, tmp_path, capsys)
    assert main(fit(small_run, tmp_path / "a", "--weight-bytes", str(smallest - 1), "--no-train")) == 1
    error = capsys.readouterr().err
    assert f"the smallest feasible is {smallest:,}; layer stage2.1 takes most of it" in error
    assert main(fit(small_run, tmp_path / "b", "--weight-bytes", str(smallest), "--no-train", "--json")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["weight_bytes"] == smallest and set(facts["bits"].values()) == {2}


def test_an_impossible_budget_is_told_before_the_float_net_is_trained(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("repedge.fit.nets.train_model", lambda *a, **k: pytest.fail("trained"))
    assert main(fit(small_run / "recipe.yaml", tmp_path / "out", "--weight-bytes", "1")) == 1
    assert "the smallest feasible is" in capsys.readouterr().err


def test_of_several_nets_the_one_that_fits_is_taken(small_run, tmp_path, capsys):
    wide = tmp_path / "wide.yaml"
    content = yaml.safe_load((small_run / "recipe.yaml").read_text())
    content |= {"name": "wide", "model": {"widths": [24, 48], "depths": [1, 2], "strides": [2, 2]}}
    content["train"]["float_phase"]["epochs"] = 1
    wide.write_text(yaml.safe_dump(content))
    arguments = ["fit", str(wide), str(small_run), "--out", str(tmp_path / "out"), "--images", "64", "--quiet"]
    assert main([*arguments, "--weight-bytes", str(BUDGET), "--no-train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["net"] == "small"


def test_a_qat_net_without_its_float_net_can_be_fitted(small_run, tmp_path, capsys):
    run = tmp_path / "only-qat"
    shutil.copytree(small_run, run)
    (run / "train" / "float.safetensors").unlink()
    manifest = run / "train" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["files"]["float.safetensors"]
    manifest.write_text(json.dumps(content))
    assert main(fit(run, tmp_path / "out", "--weight-bytes", str(BUDGET), "--json")) == 0
    assert json.loads(capsys.readouterr().out)["budget_after_training"]["passed"]


def test_rounds_never_end_with_more_loss_than_greedy_or_the_plain_optimum(small_run, tmp_path, capsys):
    joint = {}
    for name, extra in (("default", ()), ("plain", ("--rounds", "0")), ("greedy", ("--method", "greedy"))):
        arguments = fit(small_run, tmp_path / name, *extra, "--weight-bytes", str(BUDGET), "--no-train", "--json")
        assert main(arguments) == 0
        joint[name] = json.loads(capsys.readouterr().out)["joint_loss"]
    assert joint["default"] <= min(joint["plain"], joint["greedy"])


@pytest.mark.parametrize("method", ["greedy", "cgmq", "uniform"])
def test_every_method_keeps_the_budget(small_run, tmp_path, capsys, method):
    extra = ("--method", method, "--gate-steps", "10", "--weight-bytes", str(BUDGET), "--no-train", "--json")
    assert main(fit(small_run, tmp_path / "out", *extra)) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["method"] == method and facts["weight_bytes"] <= BUDGET


def test_methods_are_compared_with_the_same_epochs_and_seed(small_run, tmp_path, capsys):
    extra = ("--compare", "--gate-steps", "10", "--weight-bytes", str(BUDGET), "--no-train", "--json")
    assert main(fit(small_run, tmp_path / "out", *extra)) == 0
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    lines = comparison["lines"]
    assert [line["method"] for line in lines] == ["exact", "greedy", "cgmq", "uniform"]
    assert {(line["epochs"], line["seed"], line["top1_float"]) for line in lines} == {(1, 0, lines[0]["top1_float"])}
    assert all(line["weight_bytes"] <= BUDGET for line in lines)
    assert len((tmp_path / "out" / "fit" / "compare.jsonl").read_text().splitlines()) == 4


def test_a_fit_without_qat_says_so_and_names_the_option(small_run, tmp_path, capsys):
    assert main(fit(small_run, tmp_path / "f", "--weight-bytes", "900", "--epochs", "0")) == 0
    assert "notice: no QAT was trained" in capsys.readouterr().out
    assert json.loads((tmp_path / "f" / "fit" / "fit.json").read_text())["qat_epochs"] == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "no limit on bytes, instructions or latency to fit to"),
        (("--weight-bytes", "900", "--bits", "1", "9"), "--bits 1 9: allowed are 2 to 8"),
        (("--flash", "9K", "--target", "cortex-a53"), "fit steers the limits of Cortex-M targets"),
        (("--flash", "9K", "--target", "cortex-m44"), "did you mean cortex-m4"),
        (("--weight-bytes", "0"), "--weight-bytes 0: allowed are limits of more than 0"),
        (("--latency", "nan"), "--latency nan: allowed are limits of more than 0"),
        (("--bit-operations=-4",), "--bit-operations -4: allowed are limits of more than 0"),
        (("--weight-bytes", "900", "--epochs=-1"), "--epochs -1: allowed are 0 and more"),
        (("--weight-bytes", "900", "--device", "no-such"), "--device no-such: not usable here"),
        (("--weight-bytes", "900", "--compare", "--epochs", "0"), "methods are compared after QAT; give --epochs N"),
        (("--flash", "0"), "--flash 0: allowed are limits of more than 0"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_to_do(small_run, tmp_path, capsys, extra, message):
    assert main(fit(small_run, tmp_path / "out", *extra)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", ["-1", "0,0", "0,x", ""])
def test_seeds_that_are_none_are_wrong_usage(small_run, tmp_path, capsys, seeds):
    with pytest.raises(SystemExit) as stopped:
        main(fit(small_run, tmp_path / "out", "--weight-bytes", "900", f"--seeds={seeds}"))
    assert stopped.value.code == 2
    assert "are no seeds; allowed are different numbers such as 0,1,2" in capsys.readouterr().err


def test_a_typo_in_the_budget_is_answered_with_the_nearest_key(small_run, tmp_path, capsys):
    budget = tmp_path / "budget.yaml"
    budget.write_text("model: {weigth_bytes: 900}\n")
    assert main(fit(small_run, tmp_path / "out", "--budget", str(budget))) == 2
    assert "did you mean weight_bytes" in capsys.readouterr().err
