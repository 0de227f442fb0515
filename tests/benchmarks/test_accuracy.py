"""The accuracy runner on a toy grid of digits: resumes, never repeats, prunes, states its hours, writes its tables."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

import benchmarks.accuracy as accuracy
from benchmarks.accuracy_facts import float_facts
from benchmarks.accuracy_grid import cells_of, load_grid
from benchmarks.accuracy_lookup import Results
from benchmarks.accuracy_outlier import bit_curves
from benchmarks.accuracy_plots import line_plot
from benchmarks.accuracy_rivals import RIVALS
from benchmarks.accuracy_share import cells_of_share
from benchmarks.accuracy_statistics import interval
from benchmarks.jobs import Share
from tests.train.small_networks import small_network
from train.config import NormConfig
from train.dataset import load_dataset
from train.errors import ConfigError

GRID = {
    "base": {
        "data": {"name": "digits"},
        "model": {"widths": [4, 8], "depths": [1, 1], "strides": [2, 2]},
        "train": {
            "threads": 1,
            "float_phase": {"epochs": 2, "learning_rate": 0.1},
            "qat_phase": {"epochs": 1, "learning_rate": 0.01},
        },
    },
    "default": {"quantizer": "cluster", "weight_bits": 4, "seed": 0},
    "settings": {
        "weight_bits": "quantize.weights.bit_width",
        "seed": "seed",
        "quantizer": {
            "cluster": {"quantize.weights.method": "cluster"},
            "ptq": {"train.qat_phase.epochs": 0, "quantize.post_training.weights": "uniform"},
        },
    },
    "star": {"quantizer": ["ptq"]},
}


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory):
    """A folder in which the whole toy grid was run once."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "grid.yaml").write_text(yaml.safe_dump(GRID))
    assert run(folder) == 0
    return folder


def run(folder, *extra: str) -> int:
    names = ("grid", "grid.yaml"), ("results", "results.jsonl"), ("tables", "ACCURACY.md"), ("work", "work")
    return accuracy.main([*(part for name, file in names for part in (f"--{name}", str(folder / file))), *extra])


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_each_cell_has_one_line_with_the_agreed_keys_and_no_test_accuracy(bench_folder):
    lines = lines_of(bench_folder)
    assert [line["quantizer"] for line in lines] == ["cluster", "ptq"]
    for line in lines:
        assert {"weight_bits", "seed", "epochs", "top1_validation", "top1_float", "commit", "tool_versions"} <= set(
            line
        )
        assert 0 <= line["top1_validation"] <= 100


def test_both_cells_share_one_float_net(bench_folder):
    assert len(list((bench_folder / "work").glob("float-*"))) == 1
    assert len({line["top1_float"] for line in lines_of(bench_folder)}) == 1


def test_a_finished_cell_is_never_trained_again(bench_folder, monkeypatch):
    before = (bench_folder / "results.jsonl").read_bytes()
    monkeypatch.setattr(accuracy, "train_model", lambda *a, **k: pytest.fail("trained again"))
    assert run(bench_folder) == 0
    assert (bench_folder / "results.jsonl").read_bytes() == before


def test_a_lost_line_is_measured_again_to_the_same_number(bench_folder, tmp_path):
    lines = lines_of(bench_folder)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    (tmp_path / "results.jsonl").write_text(json.dumps(lines[1]) + "\n" + '{"cell": "cut sh')
    assert run(tmp_path) == 0
    again = {line["cell"]: line["top1_validation"] for line in lines_of(tmp_path)}
    assert again == {line["cell"]: line["top1_validation"] for line in lines}


def test_hours_are_stated_before_it_starts(tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    assert run(tmp_path, "--only-state") == 0
    assert "2 cells, 0 finished, 2 to do: about" in capsys.readouterr().err
    assert not (tmp_path / "results.jsonl").exists()


def test_the_tables_can_be_written_again_without_data(bench_folder, tmp_path, capsys):
    before = (bench_folder / "ACCURACY.md").read_text()
    (bench_folder / "ACCURACY.md").unlink()
    assert run(bench_folder, "--only-tables", "--data-dir", str(tmp_path / "none")) == 0
    assert (bench_folder / "ACCURACY.md").read_text() == before
    assert run(bench_folder, "--only-tables", "--results", str(tmp_path / "none.jsonl")) == 2
    assert "none.jsonl: no results file" in capsys.readouterr().err


def test_hopeless_cells_are_pruned_with_a_reason_and_kept_as_done(tmp_path):
    prune = {"after_epochs": 1, "times_chance": 9.99}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**GRID, "prune": prune}))
    assert run(tmp_path) == 0
    lines = lines_of(tmp_path)
    assert [line["pruned"] for line in lines] == [True, True]
    assert "float epoch 1: validation" in lines[0]["pruned_reason"]
    assert "| cluster | 0 | – | – | – | – | – | pruned |" in (tmp_path / "ACCURACY.md").read_text()


def test_test_split_is_measured_for_matching_cells_only(bench_folder):
    before = (bench_folder / "results.jsonl").read_bytes()
    assert run(bench_folder, "--test", "quantizer=ptq") == 0
    assert ["top1_test" in line for line in lines_of(bench_folder)] == [False, True]
    assert 0 <= lines_of(bench_folder)[1]["top1_float_test"] <= 100
    (bench_folder / "results.jsonl").write_bytes(before)


def test_tables_hold_every_cell_and_the_loss_against_float(bench_folder):
    page = (bench_folder / "ACCURACY.md").read_text()
    line = lines_of(bench_folder)[1]
    loss = line["top1_float"] - line["top1_validation"]
    assert f"| ptq | 1 | {line['top1_float']:.2f} | {line['top1_validation']:.2f} | {loss:.2f} |" in page
    assert "## All cells" in page


def test_interval_is_students_over_the_seeds():
    assert interval([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert interval([1.5], sign=True) == "+1.50"


def test_an_unknown_value_of_a_factor_names_the_known_ones(tmp_path):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**GRID, "star": {"quantizer": ["lsq"]}}))
    with pytest.raises(ConfigError, match=r"quantizer 'lsq' has no meaning, allowed are \['cluster', 'ptq'\]"):
        cells_of(load_grid(tmp_path / "grid.yaml"))


def test_the_shipped_grid_is_valid_and_holds_each_cell_once():
    cells = cells_of(load_grid(accuracy.HERE / "accuracy_grid.yaml"))
    assert len({cell.key for cell in cells}) == len(cells)
    assert 50 <= len(cells) <= 400


def test_the_shipped_grid_holds_the_cells_that_the_claims_need():
    results = Results(load_grid(accuracy.HERE / "accuracy_grid.yaml"), {})
    five = (0, 1, 2, 3, 4)
    for norm in ("bn", "oabn"):
        assert results.find(norm=norm, quantizer="float").missing == five
        for bits in (8, 6, 4, 3, 2):
            for quantizer in ("cluster", "ptq-uniform", "ptq-kmeans"):
                assert results.find(norm=norm, quantizer=quantizer, weight_bits=bits).missing == five
    for bits in (4, 3, 2):
        assert results.find(quantizer="lsq", weight_bits=bits).missing == five
    assert results.find(activation_bits=4).missing == five
    for rival in RIVALS:
        found = [
            results.find(**{rival.factor: rival.value}),
            *(results.find(**{rival.factor: v}) for v in rival.against),
        ]
        assert all(seeds.missing for seeds in found), rival.name


def test_two_processes_share_the_cells_and_one_results_file(bench_folder, tmp_path):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**GRID, "products": [{"seed": [0, 1]}]}))
    assert run(tmp_path, "--jobs", "2") == 0
    lines = {(line["quantizer"], line["seed"]): line for line in lines_of(tmp_path)}
    assert set(lines) == {("cluster", 0), ("ptq", 0), ("cluster", 1)}
    alone = {(line["quantizer"], line["seed"]): line["top1_validation"] for line in lines_of(bench_folder)}
    assert {key: lines[key]["top1_validation"] for key in alone} == alone


def test_shares_are_disjoint_whole_and_keep_cells_of_one_float_net_together():
    cells = cells_of(load_grid(accuracy.HERE / "accuracy_grid.yaml"))
    shares = [cells_of_share(Share(number, 3), cells) for number in range(3)]
    assert sorted(cell.key for share in shares for cell in share) == sorted(cell.key for cell in cells)
    owners = [{cell.float_key for cell in share} for share in shares]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert max(map(len, shares)) < len(cells)


def test_a_line_cut_short_by_a_crash_is_dropped_before_the_next(bench_folder, tmp_path):
    (tmp_path / "results.jsonl").write_text('{"cell": "cut sh')
    bench = accuracy.Bench(load_grid(bench_folder / "grid.yaml"), tmp_path / "results.jsonl", tmp_path, None)
    bench.keep({"cell": "a", "top1_validation": 1.0})
    bench.keep({"cell": "b", "top1_validation": 2.0})
    assert list(bench.lines()) == ["a", "b"]


def test_plots_stand_beside_the_page_and_are_xml(bench_folder):
    page = (bench_folder / "ACCURACY.md").read_text()
    assert "![quantizer](accuracy_quantizer.svg)" in page
    root = ElementTree.parse(bench_folder / "accuracy_quantizer.svg").getroot()
    assert [element.tag.endswith("circle") for element in root].count(True) == 2


def test_bit_curves_join_the_widths_of_one_norm_and_quantizer():
    grid = load_grid(accuracy.HERE / "accuracy_grid.yaml")
    cells = enumerate(cells_of(grid))
    lines = {cell.key: {**cell.factors, "pruned": False, "top1_validation": float(n)} for n, cell in cells}
    curves = bit_curves(Results(grid, lines))
    assert set(curves["bn, ptq-repapq"]) == {4, 3}
    ElementTree.fromstring(line_plot("bits", curves))


def test_the_diagonal_split_and_reconstruction_are_measured(bench_folder):
    content = yaml.safe_load((bench_folder / "grid.yaml").read_text())
    uniform = {"train.qat_phase.epochs": 0, "quantize.post_training.weights": "uniform_mse"}
    content["settings"]["quantizer"] |= {
        "split": {**uniform, "quantize.post_training.diagonal_split": True},
        "repapq": {
            **uniform,
            "quantize.post_training.reconstruction": "repapq",
            "quantize.post_training.iterations": 5,
        },
    }
    content["star"] = {"quantizer": ["split", "repapq"]}
    (bench_folder / "more.yaml").write_text(yaml.safe_dump(content))
    grid = load_grid(bench_folder / "more.yaml")
    dataset = load_dataset(cells_of(grid)[0].recipe.data, None)
    bench = accuracy.Bench(grid, bench_folder / "more.jsonl", bench_folder / "work", dataset)
    found = accuracy.run_bench(bench, say=lambda text: None)
    assert all(line["top1_validation"] >= 0 for line in found.values())
    assert len(found) == 3


def test_facts_are_measured_again_from_the_kept_float_nets(bench_folder, monkeypatch):
    before = (bench_folder / "results.jsonl").read_bytes()
    stripped = [{k: v for k, v in line.items() if k != "peak"} for line in lines_of(bench_folder)]
    (bench_folder / "results.jsonl").write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in stripped))
    monkeypatch.setattr(accuracy, "train_model", lambda *a, **k: pytest.fail("trained again"))
    assert run(bench_folder, "--facts") == 0
    assert (bench_folder / "results.jsonl").read_bytes() == before


def test_the_identity_ratio_is_before_the_bound_and_the_scale_after_it():
    network = small_network(norm=NormConfig(bound="constant", constant=0.3))  # σ² of channel 0 is 1e-7
    ratios = [norm.ratio(norm.running_var).abs().max() for norm in map(_identity, network.blocks) if norm is not None]
    facts = float_facts(network)
    assert (
        facts["identity_ratio_max"] == pytest.approx(float(max(ratios).detach()), abs=1e-3)
        and facts["identity_ratio_max"] > 3
    )
    assert facts["identity_scale_max"] == pytest.approx(0.3, abs=1e-4)


def _identity(block):
    return block.norm_identity


def test_qareps_identity_is_the_scale_of_the_norm_after_the_sum():
    network = small_network(norm=NormConfig(kind="qarep"))
    scales = [b.post_norm.merged()[0].abs().max() for b in network.blocks if b.norm_identity is not None]
    facts = float_facts(network)
    assert facts["identity_scale_max"] == pytest.approx(float(max(scales).detach()), rel=1e-4)
    assert facts["identity_ratio_max"] is None


def test_kurtosis_and_peak_of_a_kernel_with_one_outlier_are_those_by_hand():
    network = small_network(norm=NormConfig(kind="bn"))
    weight = network.blocks[1].merged_kernel()[0].detach().double().flatten()
    centred = weight - weight.mean()
    facts = float_facts(network)
    assert facts["kurtosis"]["stage1.1"] == pytest.approx(
        float((centred**4).mean() / weight.var(correction=0) ** 2), abs=0.01
    )
    assert facts["peak"]["stage1.1"] == pytest.approx(float(weight.abs().max() / weight.std(correction=0)), abs=0.01)


def test_a_diverged_cell_is_kept_as_pruned_with_its_reason_and_the_others_go_on(tmp_path):
    content = json.loads(json.dumps(GRID))
    content["settings"]["quantizer"]["wild"] = {"train.qat_phase.learning_rate": 1e30}
    content["star"] = {"quantizer": ["wild", "ptq"]}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    assert run(tmp_path) == 0
    lines = {line["quantizer"]: line for line in lines_of(tmp_path)}
    assert "qat phase, step" in lines["wild"]["pruned_reason"] and not lines["ptq"]["pruned"]
    assert "- pruned: quantizer wild, seed 0 (qat phase, step" in (tmp_path / "ACCURACY.md").read_text()


def test_post_training_is_calibrated_on_no_validation_image(bench_folder, monkeypatch):
    grid = load_grid(bench_folder / "grid.yaml")
    cell = next(cell for cell in cells_of(grid) if cell.factors["quantizer"] == "ptq")
    bench = accuracy.Bench(grid, bench_folder / "x", bench_folder / "work", load_dataset(cell.recipe.data, None))
    seen, original = [], accuracy.lower_float
    monkeypatch.setattr(
        accuracy, "lower_float", lambda m, q, images, n: seen.append(images) or original(m, q, images, n)
    )
    accuracy.measure(bench, cell, *accuracy.validation_split(bench, cell.recipe))
    training, validation = accuracy._split(bench, cell.recipe)
    assert np.array_equal(seen[0], bench.dataset.train_images[training[:1024]])
    assert not set(training[:1024]) & set(validation)


def test_the_float_reference_is_measured_without_the_int8_grid_of_the_logits(bench_folder, tmp_path, monkeypatch):
    content = json.loads(json.dumps(GRID))
    none = {"quantize.weights.method": "none", "quantize.activations.method": "none"}
    content["settings"]["quantizer"]["float"] = none
    content["star"] = {"quantizer": ["float"]}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    scales = []
    original = accuracy._top1
    monkeypatch.setattr(accuracy, "_top1", lambda n, *rest: scales.append(float(n.logits_scale)) or original(n, *rest))
    assert run(tmp_path) == 0
    assert scales[0] > 0 and scales[1] == 0  # cluster, float
