"""The fit benchmark on a toy net of digits: paired cells, never repeated, budgets midway, tables."""

from __future__ import annotations

import json

import pytest
import yaml

import benchmarks.fit as bench
from repedge.fit import compare

RECIPE = {
    "name": "toy",
    "data": {"name": "digits"},
    "model": {"widths": [4, 8], "depths": [1, 1], "strides": [2, 2]},
    "train": {
        "threads": 1,
        "float_phase": {"epochs": 2, "learning_rate": 0.1},
        "qat_phase": {"epochs": 1, "learning_rate": 0.01},
    },
}


def arguments(folder, *extra: str) -> list[str]:
    names = ("results", "fit.jsonl"), ("tables", "FIT.md"), ("work", "work")
    paths = [part for name, file in names for part in (f"--{name}", str(folder / file))]
    quick = ["--bits", "2.5", "--seeds", "0", "1", "--images", "32", "--gate-steps", "5"]
    return ["--recipes", str(folder / "toy.yaml"), *paths, *quick, *extra]


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "toy.yaml").write_text(yaml.safe_dump(RECIPE))
    assert bench.main(arguments(folder)) == 0
    return folder


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "fit.jsonl").read_text().splitlines()]


def test_each_method_has_a_cell_per_seed_within_the_budget(bench_folder):
    lines = lines_of(bench_folder)
    assert {(line["method"], line["seed"]) for line in lines} == {(m, s) for m in compare.METHODS for s in (0, 1)}
    assert all(line["weight_bytes"] <= line["budget_bytes"] for line in lines)
    assert all({"commit", "tool_versions", "command", "data_sha256", "joint_loss"} <= set(line) for line in lines)


def test_cells_of_one_seed_share_one_float_net(bench_folder):
    for seed in (0, 1):
        assert len({line["top1_float"] for line in lines_of(bench_folder) if line["seed"] == seed}) == 1
    assert len(list((bench_folder / "work" / "float").iterdir())) == 2


def test_finished_cells_are_never_trained_again(bench_folder, monkeypatch, capsys):
    monkeypatch.setattr(compare, "train_model", lambda *a, **k: pytest.fail("trained again"))
    before = (bench_folder / "fit.jsonl").read_bytes(), (bench_folder / "FIT.md").read_bytes()
    assert bench.main(arguments(bench_folder)) == 0
    assert ((bench_folder / "fit.jsonl").read_bytes(), (bench_folder / "FIT.md").read_bytes()) == before
    assert "8 cells; training the missing ones takes about 0 hours" in capsys.readouterr().err


def test_hours_are_stated_before_it_starts(tmp_path, capsys):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(RECIPE))
    assert bench.main(arguments(tmp_path, "--only-state")) == 0
    assert "8 cells; training the missing ones takes about" in capsys.readouterr().err
    assert not (tmp_path / "fit.jsonl").exists()


def test_the_page_has_a_table_per_budget_with_paired_differences(bench_folder):
    page = (bench_folder / "FIT.md").read_text()
    budget = lines_of(bench_folder)[0]["budget_bytes"]
    assert f"## toy, 2.5 bits per weight: {budget:,} B" in page
    assert "| exact | 2 |" in page and " ± " in page


def test_budgets_lie_midway_between_the_encoded_uniform_nets(tmp_path):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(RECIPE))
    found = bench._bench(bench.argparse.Namespace(**OPTIONS, recipes=[tmp_path / "toy.yaml"], work=tmp_path))
    (recipe, bits, budget), *_ = found.groups()
    assert (recipe.name, bits) == ("toy", 2.5)
    assert budget == (found.uniform_bytes(recipe, 2) + found.uniform_bytes(recipe, 3)) // 2


OPTIONS = {
    "bits": [2.5], "seeds": [0], "float_epochs": None, "qat_epochs": None, "images": 8, "gate_steps": 1,
    "results": None, "data_dir": None, "device": "cpu",
}  # fmt: skip
