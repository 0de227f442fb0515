"""The fit benchmark on a toy net of digits: paired cells, never repeated, budgets midway, shared trainings, the test split last."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

import benchmarks.fit as bench
from benchmarks.accuracy_grid import Cell, make_cell
from benchmarks.accuracy_grid import load_grid as load_accuracy_grid
from benchmarks.fit_grid import load_grid, units_of
from repedge.fit import compare
from train.artefact import read_manifest, write_json
from train.errors import ConfigError

GRID = {
    "bits": [2.5],
    "images": 32,
    "gate_steps": 5,
    "base": {
        "data": {"name": "digits"},
        "train": {
            "threads": 1,
            "float_phase": {"epochs": 2, "learning_rate": 0.1},
            "qat_phase": {"epochs": 1, "learning_rate": 0.01},
        },
    },
    "nets": [
        {"seeds": [0, 1], "recipe": {"name": "toy", "model": {"widths": [4, 8], "depths": [1, 1], "strides": [2, 2]}}}
    ],
}


def arguments(folder, *extra: str) -> list[str]:
    (folder / "grid.yaml").write_text(yaml.safe_dump(GRID))
    names = ("grid", "grid.yaml"), ("results", "fit.jsonl"), ("tables", "FIT.md"), ("work", "work")
    return [part for name, file in names for part in (f"--{name}", str(folder / file))] + list(extra)


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    assert bench.main(arguments(folder)) == 0
    return folder


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "fit.jsonl").read_text().splitlines()]


def within(folder) -> list[dict]:
    return [line for line in lines_of(folder) if line["role"] == "budget"]


def test_each_method_has_a_cell_per_seed_within_the_budget(bench_folder):
    lines = within(bench_folder)
    assert {(line["method"], line["seed"]) for line in lines} == {(m, s) for m in compare.METHODS for s in (0, 1)}
    assert all(line["weight_bytes"] <= line["budget_bytes"] for line in lines)
    assert all({"commit", "tool_versions", "command", "data_sha256", "joint_loss"} <= set(line) for line in lines)


def test_the_width_above_is_a_reference_over_the_budget(bench_folder):
    above = [line for line in lines_of(bench_folder) if line["role"] == "upper"]
    assert {line["seed"] for line in above} == {0, 1}
    assert all(line["weight_bytes"] > line["budget_bytes"] and line["method"] == "uniform" for line in above)


def test_cells_of_one_seed_share_one_float_net(bench_folder):
    for seed in (0, 1):
        assert len({line["top1_float"] for line in lines_of(bench_folder) if line["seed"] == seed}) == 1
    assert len(list((bench_folder / "work" / "float").iterdir())) == 2


def test_same_bits_share_one_training(bench_folder):
    lines = lines_of(bench_folder)
    different = {(line["seed"], json.dumps(line["bits"], sort_keys=True)) for line in lines}
    assert len({line["training"] for line in lines}) == len(different)
    assert len(list((bench_folder / "work" / "cells").iterdir())) == len(different)


def test_the_test_split_is_measured_once_at_the_end(bench_folder, monkeypatch):
    assert all(line["test_images"] == 364 and 0 <= line["top1_test"] <= 100 for line in lines_of(bench_folder))
    monkeypatch.setattr("benchmarks.fit_bench.top1", lambda *given: pytest.fail("measured again"))
    assert bench.main(arguments(bench_folder)) == 0


def test_finished_cells_are_never_trained_again(bench_folder, monkeypatch, capsys):
    monkeypatch.setattr(compare, "train_model", lambda *a, **k: pytest.fail("trained again"))
    before = (bench_folder / "fit.jsonl").read_bytes(), (bench_folder / "FIT.md").read_bytes()
    assert bench.main(arguments(bench_folder)) == 0
    assert ((bench_folder / "fit.jsonl").read_bytes(), (bench_folder / "FIT.md").read_bytes()) == before
    assert "0 cells to do: at most 0 hours" in capsys.readouterr().err


def test_two_processes_share_the_nets_and_find_the_same(bench_folder, tmp_path):
    assert bench.main(arguments(tmp_path, "--jobs", "2")) == 0
    same = "method", "seed", "role", "bits", "top1_validation", "top1_test"

    def figures(folder) -> list[str]:
        return sorted(json.dumps({key: line[key] for key in same}, sort_keys=True) for line in lines_of(folder))

    assert figures(tmp_path) == figures(bench_folder)


def test_float_nets_of_the_accuracy_benchmark_are_taken_over(bench_folder, tmp_path, monkeypatch):
    for unit in units_of(load_grid(bench_folder / "grid.yaml")):
        key = Cell({}, unit.recipe.training()).float_key
        folder = shutil.copytree(bench_folder / "work" / "float" / unit.recipe.name, tmp_path / f"float-{key[:16]}")
        manifest = read_manifest(folder).model_copy(update={"key": key})
        write_json(folder / "manifest.json", manifest.model_dump())
    monkeypatch.setattr("repedge.fit.nets.train_model", lambda *a, **k: pytest.fail("a float net was trained"))
    assert bench.main(arguments(tmp_path, "--float-nets", str(tmp_path))) == 0
    assert {line["cell"] for line in lines_of(tmp_path)} == {line["cell"] for line in lines_of(bench_folder)}


def test_hours_are_stated_before_it_starts(tmp_path, capsys):
    assert bench.main(arguments(tmp_path, "--only-state")) == 0
    assert "10 cells to do: at most" in capsys.readouterr().err
    assert not (tmp_path / "fit.jsonl").exists()


def test_the_page_has_a_table_per_budget_with_paired_differences(bench_folder):
    page = (bench_folder / "FIT.md").read_text()
    budget = within(bench_folder)[0]["budget_bytes"]
    assert f"## toy, 2.5 bits per weight: {budget:,} B" in page
    assert "| exact | 2 |" in page and " ± " in page
    assert "| uniform 2 bits | 2 |" in page and "| uniform 3 bits, over the budget | 2 |" in page
    assert "Budget met as encoded by 8 of 8 nets" in page


def test_budgets_lie_midway_between_the_encoded_uniform_nets(bench_folder):
    found = bench.make_bench(bench._parser().parse_args(arguments(bench_folder)))
    recipe = found.units[0].recipe
    middle = (found.uniform_bytes(recipe, 2) + found.uniform_bytes(recipe, 3)) // 2
    assert {line["budget_bytes"] for line in lines_of(bench_folder)} == {found.budget(recipe, 2.5)} == {middle}


def test_one_setting_changes_all_nets(tmp_path, capsys):
    grid = load_grid(bench.HERE / "fit_grid.yaml")
    assert {unit.recipe.train.qat_phase.epochs for unit in units_of(grid, ["train.qat_phase.epochs=7"])} == {7}
    assert bench.main(arguments(tmp_path, "--set", "train.qat_phase.epoch=7")) == 2
    assert "did you mean epochs" in capsys.readouterr().err


def test_seeds_that_no_net_has_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no net of"):
        bench.make_bench(bench._parser().parse_args(arguments(tmp_path, "--seeds", "9")))


def test_the_committed_grid_has_the_float_nets_of_the_accuracy_grid():
    accuracy = load_accuracy_grid(bench.HERE / "accuracy_grid.yaml")
    theirs = {make_cell(accuracy, {**accuracy.default, "seed": seed}).float_key for seed in range(5)}
    ours = units_of(load_grid(bench.HERE / "fit_grid.yaml"))
    assert {Cell({}, unit.recipe.training()).float_key for unit in ours if unit.net == "cifar10-xs"} == theirs
