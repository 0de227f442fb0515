"""ACCURACY.md from made-up results whose answers are known: goals, intervals, references, rivals, and what is missing."""

from __future__ import annotations

import json

import pytest
import yaml

from benchmarks.accuracy import HERE
from benchmarks.accuracy_goals import against_uniform, best_uniform, float_cost, loss_goal, other_losses
from benchmarks.accuracy_grid import Grid, cells_of
from benchmarks.accuracy_lookup import Results
from benchmarks.accuracy_outlier import bit_curves, outlier_section
from benchmarks.accuracy_products import FLAGSHIPS, flagship_goal, integer_accuracies, step_goals
from benchmarks.accuracy_rivals import RIVALS, default_section, noise, rival_row, rivals_section
from benchmarks.accuracy_statistics import at_most, lower_end_above, noise_of_one
from benchmarks.accuracy_tables import page, write_tables
from benchmarks.accuracy_zoo import zoo_section
from train.artefact import write_json
from train.zoo import ZooIndex, load_index

SEEDS = [0, 1, 2, 3, 4]
PRODUCTS = [
    {"norm": ["bn", "oabn"], "quantizer": ["cluster", "lsq"], "weight_bits": [4, 3, 2], "seed": SEEDS},
    {"activation_bits": [4], "seed": SEEDS},
    {"norm": ["bn", "oabn"], "quantizer": ["float"], "seed": SEEDS},
    {"norm": ["bn", "oabn"], "quantizer": ["ptq-uniform", "ptq-kmeans"], "weight_bits": [8, 6, 4, 3, 2], "seed": SEEDS},
    {"norm": ["bn", "oabn"], "quantizer": ["ptq-repapq", "ptq-uniform-mse"], "weight_bits": [4, 3], "seed": [0]},
]
LOSS = {8: 0.0, 6: 0.1, 4: 0.2, 3: 0.8, 2: 1.4}  # of ClusterQAT below its float reference, points
NOTES = ["92 of 60000 images are inexact and kept (72 train, 20 test)"]


def made_up_line(factors: dict, recipe) -> dict:
    """85 + seed/10 in float (plain BN 0.1 more), 0.3 more trained on; cluster loses LOSS, lsq 0.5 more, PTQ 3 more."""
    seed, norm, quantizer = factors["seed"], factors["norm"], factors["quantizer"]
    top1_float = 85.0 + seed / 10 + (0.1 if norm == "bn" else 0.0)
    trained_on, is_ptq = top1_float + 0.3, quantizer.startswith("ptq")
    loss = LOSS[factors["weight_bits"]] + (0.1 if factors["activation_bits"] == 4 else 0.0)
    loss += {"lsq": 0.5, "uniq": 0.6, "cluster-no-freeze": -0.4}.get(quantizer, 0.0) + 3.0 * is_ptq
    loss += 10.0 * (is_ptq and norm == "bn") - 1.0 * (quantizer == "ptq-repapq") + 0.01 * (seed - 2)
    return {
        **factors,
        "pruned": False,
        "epochs": recipe.train.qat_phase.epochs,
        "float_epochs": recipe.train.float_phase.epochs,
        "top1_float": top1_float,
        "top1_validation": trained_on if quantizer == "float" else trained_on - loss,
        "identity_ratio_max": 2.0 if norm == "bn" else 1.5,
        "identity_scale_max": 2.0 if norm == "bn" else 0.5,
        "kurtosis": {"stage1.0": 6.0, "stage1.1": 100.0 + seed if norm == "bn" else 20.0},
        "peak": {"stage1.0": 4.0, "stage1.1": 25.0 if norm == "bn" else 10.0},
        "dataset_notes": NOTES,
    }


@pytest.fixture(scope="module")
def grid() -> Grid:
    content = yaml.safe_load((HERE / "accuracy_grid.yaml").read_text())
    content["default"]["norm"], content["default"]["quantizer"] = "oabn", "cluster"
    return Grid.model_validate({**content, "claims": {}, "products": PRODUCTS})


@pytest.fixture(scope="module")
def cells(grid):
    return cells_of(grid)


@pytest.fixture
def lines(cells) -> dict:
    return {cell.key: {**made_up_line(cell.factors, cell.recipe), "cell": cell.key} for cell in cells}


def without(lines: dict, **factors) -> dict:
    """The lines but those with these factors."""
    return {key: line for key, line in lines.items() if any(line[f] != value for f, value in factors.items())}


def change(lines: dict, facts: dict, **factors) -> None:
    for line in lines.values():
        if all(line[f] == value for f, value in factors.items()):
            line.update(facts)


def test_losses_are_below_the_net_trained_on_where_that_is_the_better_one(grid, lines):
    found = {
        bits: str(loss_goal(Results(grid, lines), bits, 8, limit).verdict)
        for bits, limit in ((4, 0.3), (3, 0.7), (2, 1.5))
    }
    assert found == {4: "reached", 3: "**missed**", 2: "reached"}
    goal = loss_goal(Results(grid, lines), 4, 8, 0.3)
    assert goal.measured == "0.20 ± 0.02 points"  # spread 0.01 · sqrt(2.5), t 2.776, five seeds
    assert goal.where == "validation, 5 seeds, 3 QAT epochs" and goal.missing == ""


def test_losses_of_other_choices_need_two_seeds_and_their_own_float_reference(grid, lines):
    found = other_losses(Results(grid, lines))
    assert "| norm bn | W4A8 | validation | 5 | 85.60 ± 0.20 | 85.40 ± 0.18 | 0.20 ± 0.02 | 0.3 | reached |" in found
    assert "| norm bn | W3A8 |" in found and "**missed**" in found
    assert "norm mimic" not in found and "quantizer" not in found  # one seed; a factor of widths
    lines = without(lines, norm="bn", quantizer="float")
    assert "norm bn" not in other_losses(Results(grid, lines))


def test_the_claims_have_their_own_choice_and_the_stars_default_stands_beside_them(grid):
    claimed = {"qat_norm": ["mean"], "quantizer": ["cluster", "float", "lsq"], "seed": [0, 1]}
    claims = grid.model_copy(update={"products": [*PRODUCTS, claimed], "claims": {"qat_norm": "mean"}})
    lines = {cell.key: made_up_line(cell.factors, cell.recipe) for cell in cells_of(claims)}
    for line in lines.values():
        line["top1_validation"] += 0.15 * (line["qat_norm"] == "mean" and line["quantizer"] == "cluster")
    results = Results(claims, lines)
    assert loss_goal(results, 4, 8, 0.3).measured == "0.03 ± 0.06 points"  # seeds 0 and 1: 0.20 - 0.015 - 0.15
    assert against_uniform(results, 4).measured.startswith("+0.65 ± 0.00 against lsq")
    assert "| qat_norm none | W4A8 | validation | 5 |" in other_losses(results)
    assert "qat_norm mean |" not in other_losses(results)


def test_a_goal_is_judged_after_the_longest_schedule_of_which_two_seeds_were_run(grid):
    longer = {"qat_epochs": [10], "norm": ["oabn"], "quantizer": ["cluster", "float"], "seed": [0, 1]}
    long_grid = grid.model_copy(update={"products": [*PRODUCTS, longer]})
    lines = {cell.key: made_up_line(cell.factors, cell.recipe) for cell in cells_of(long_grid)}
    change(lines, {"top1_validation": 80.0}, qat_epochs=10, quantizer="cluster", seed=1)
    goal = loss_goal(Results(long_grid, lines), 4, 8, 0.3)
    assert goal.where == "validation, 2 seeds, 10 QAT epochs" and goal.verdict and not goal.verdict.reached
    one_seed = without(lines, qat_epochs=10, quantizer="cluster", seed=1)
    assert loss_goal(Results(long_grid, one_seed), 4, 8, 0.3).where == "validation, 5 seeds, 3 QAT epochs"


def test_a_line_of_before_a_factor_was_added_still_finds_its_reference(grid, lines):
    for line in lines.values():
        del line["qat_epochs"]
    assert loss_goal(Results(grid, lines), 4, 8, 0.3).measured == "0.20 ± 0.02 points"


def test_losses_are_below_the_float_net_where_training_on_did_not_help(grid, lines):
    change(lines, {"top1_validation": 1.0}, quantizer="float")
    results = Results(grid, lines)
    assert loss_goal(results, 4, 8, 0.3).measured == "-0.10 ± 0.02 points"


def test_a_reference_is_of_the_same_norm_wrapper_seed_and_schedule(grid, lines):
    results = Results(grid, lines)
    line = results.find(wrapper="bwrf").lines[0]
    assert results.reference(line) == (85.0, False)  # no float cell was trained on with BWRF
    bn = results.find(norm="bn", weight_bits=3).lines[2]
    assert results.reference(bn) == (pytest.approx(85.6), True)


def test_post_training_is_compared_with_its_own_float_net(grid, lines):
    results = Results(grid, lines)
    assert results.reference(results.find(quantizer="ptq-kmeans").lines[1]) == (pytest.approx(85.1), True)


def test_without_its_reference_a_loss_is_not_measured_and_says_so(grid, lines):
    lines = without(lines, quantizer="float")
    goal = loss_goal(Results(grid, lines), 4, 8, 0.3)
    assert goal.row[1:] == ["–", "–", "**not measured** (float references not run)"]


def test_a_goal_is_judged_on_the_test_split_once_all_seeds_were_measured_there(grid, lines):
    change(lines, {"top1_test": 84.0, "top1_float_test": 84.1}, quantizer="cluster", norm="oabn", weight_bits=4)
    change(lines, {"top1_test": 84.2, "top1_float_test": 84.1}, quantizer="float", norm="oabn")
    goal = loss_goal(Results(grid, lines), 4, 8, 0.3)
    assert (goal.measured, goal.where) == ("0.20 ± 0.00 points", "test, 5 seeds, 3 QAT epochs")
    change(lines, {"top1_test": None}, seed=3)
    assert loss_goal(Results(grid, lines), 4, 8, 0.3).where == "validation, 5 seeds, 3 QAT epochs"


def test_cost_of_oabn_in_float_is_paired_over_seeds(grid, lines):
    goal = float_cost(Results(grid, lines))
    assert (goal.measured, str(goal.verdict)) == ("+0.10 ± 0.00 points", "reached")


def test_the_uniform_quantizer_to_beat_is_the_best_among_those_with_most_seeds(grid, lines):
    change(lines, {"top1_validation": 99.0}, quantizer="heq")  # one seed only
    results = Results(grid, lines)
    assert best_uniform(results, 4)[0] == "lsq"
    goal = against_uniform(results, 3)
    assert goal.measured == "+0.50 ± 0.00 against lsq, lower end +0.50"
    assert str(goal.verdict) == "reached"


def test_one_seed_cannot_answer_the_interval(grid, lines):
    lines = {key: line for key, line in lines.items() if line["seed"] == 0}
    goal = against_uniform(Results(grid, lines), 4)
    assert goal.verdict is None and "4 not run" in goal.missing


def test_missing_and_pruned_cells_are_told_everywhere(grid, lines, tmp_path):
    lines = without(without(lines, norm="bn", quantizer="ptq-uniform", weight_bits=6), quantizer="dkm")
    change(lines, {"pruned": True, "pruned_reason": "qat epoch 1: hopeless"}, norm="mimic")
    found = page(Results(grid, lines), tmp_path, {})
    assert "| PTQ, uniform W6 | 0 | – | 82.40 ± 0.18 | – | plain BN: not run |" in found
    assert "| QAT, LSQ W8 | 0 | – | – | – | plain BN: not in the grid; OABN: not in the grid |" in found
    assert "| dkm | 0 | – | – | – | – | – | not run |" in found
    assert "| DKM | – | – | – | – | – | – | **not run** |" in found
    assert "- not run: quantizer dkm, seed 0" in found
    assert "- pruned: norm mimic, seed 0 (qat epoch 1: hopeless)" in found
    assert "| MimicNorm | – | – | – | – | – | – | **pruned** |" in found


def test_an_empty_results_file_gives_a_page_in_which_nothing_is_reached(grid, tmp_path):
    found = page(Results(grid, {}), tmp_path, {}, zoo=tmp_path, training=tmp_path / "none.json")
    assert "0 of 13 goals reached, 0 missed, 13 not measured." in found
    assert "cell was not run yet" in found


def test_the_first_screen_holds_every_goal_and_the_data_packs_inexact_images_are_told(grid, lines, tmp_path):
    found = page(Results(grid, lines), tmp_path, {})
    screen = found.partition("## ")[0]
    for text in ("W4A8", "W3A8", "W2A8", "W4A4", "best uniform", "zoo `m` W4A8: 91.5 %", "training step", "OABN costs"):
        assert text in screen
    assert "max identity scale, as merged: 2.00 ± 0.00 with plain BN, 0.50 ± 0.00 with OABN (5 paired seeds)." in screen
    assert f"Data: {NOTES[0]}." in found


def test_kernels_are_compared_layer_by_layer(grid, lines):
    found = outlier_section(Results(grid, lines))
    assert "| stage1.1 | 102.00 ± 1.96 | 20.00 ± 0.00 | -82.00 ± 1.96 |" in found
    assert "| stage1.0 | 6.00 ± 0.00 | 6.00 ± 0.00 | +0.00 ± 0.00 |" in found


def test_a_rival_is_judged_by_the_noise_of_one_seed_or_by_its_own_interval(grid, lines):
    results = Results(grid, lines)
    rows = {rival.name: rival_row(results, rival, noise(results)) for rival in RIVALS}
    # the default's seeds: 85.1 … 85.46 in steps of 0.09; t 2.776 · 0.1423 · sqrt(2)
    assert noise(results) == pytest.approx(2.776 * 0.09 * 2.5**0.5 * 2**0.5)
    assert rows["LSQ"][-1].split("<br>") == ["hurts"] * 3  # five seeds each
    assert rows["UniQ"][-1] == "hurts" and rows["HEQ"][-1] == "within noise"
    assert rows["RepAPQ"][1:4] == [
        "bn W4<br>bn W3<br>oabn W4<br>oabn W3",
        "ptq-uniform-mse",
        "<br>".join("1111"),
    ]
    assert rows["RepAPQ"][-1].split("<br>") == ["helps"] * 4


def test_every_method_of_the_issue_has_a_row(grid, lines, tmp_path):
    found = rivals_section(Results(grid, lines), tmp_path)
    names = ["RepAPQ", "BWRF", "MimicNorm", "CGMQ", "UniQ", "HEQ", "APoT", "DKM", "LSQ", "LSQ+", "QARepVGG", "AdaRound"]
    for name in [*names, "diagonal split"]:
        assert f"| {name} |" in found
    assert "**not run** (`make bench-fit`)" in found
    (tmp_path / "FIT.md").write_text("")
    assert "see [FIT.md](FIT.md)" in rivals_section(Results(grid, lines), tmp_path)


def test_the_default_is_defended_or_the_better_variant_named(grid, lines):
    found = default_section(Results(grid, lines))
    assert "OABN: the default is `oabn`; none of the 6 variants measured here is better." in found
    assert "by these rows `cluster-no-freeze` is better by 0.40 points, within the noise of one seed." in found


def test_without_a_measured_variant_the_default_is_not_defended(grid, lines):
    only = {key: line for key, line in lines.items() if line["norm"] == "oabn"}
    assert "OABN: the default is `oabn`; none of its variants was run yet." in default_section(Results(grid, only))


def test_means_are_over_the_seeds_that_both_norms_have(grid, lines):
    lines = {key: line for key, line in lines.items() if line["norm"] != "bn" or line["seed"] < 2}
    assert "| float accuracy | 2 | 85.15 ± 0.64 | 85.05 ± 0.64 | -0.10 ± 0.00 |" in outlier_section(
        Results(grid, lines)
    )


def test_curves_are_means_over_seeds(grid, lines):
    curves = bit_curves(Results(grid, lines))
    assert curves["oabn, cluster"] == {
        8: 85.32,
        6: 85.22,
        4: pytest.approx(85.3),
        3: pytest.approx(84.7),
        2: pytest.approx(84.1),
    }


def test_a_factor_that_a_later_grid_adds_gets_its_table(grid, lines, tmp_path):
    content = grid.model_dump()
    content["default"]["fold"] = True
    content["settings"]["fold"] = {True: {}, False: {"train.qat_phase.ema_decay": 0.5}}
    content["star"]["fold"] = [False]
    wider = Grid.model_validate(content)
    found = {c.key: made_up_line(c.factors, c.recipe) for c in cells_of(wider)}
    text = page(Results(wider, found), tmp_path, {})
    assert "## Factor fold" in text
    assert "| False | 1 | 85.00 † | 85.12 | -0.12 † | +0.00 | – |  |" in text  # not trained on with fold False
    assert "† the same net trained on in float is missing" in text


def test_page_and_plots_are_written_and_the_same_twice(grid, lines, tmp_path):
    write_tables(tmp_path / "ACCURACY.md", grid, lines)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_tables(tmp_path / "ACCURACY.md", grid, lines)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"ACCURACY.md", "accuracy_bits.svg", "accuracy_norm.svg"} <= set(before)
    assert sum(map(len, before.values())) < 400_000


def test_flagships_are_the_best_on_validation_among_those_that_fit():
    model = next(m for m in load_index().models if m.name == "cifar10-m-w4a8")
    better = model.model_copy(update={"name": "b", "top1_test": 91.6, "top1_validation": 99.0})
    large = model.model_copy(update={"name": "c", "top1_test": 95.0, "top1_validation": 99.9, "weight_bytes": 115_001})
    luckier = model.model_copy(update={"name": "d", "top1_test": 93.0, "top1_validation": 98.0})
    goal = flagship_goal(FLAGSHIPS[0], (model, better, large, luckier))
    assert goal.measured == f"91.60 %, {model.weight_bytes:,} B (`b`)"
    assert str(goal.verdict) == "reached"
    assert flagship_goal(FLAGSHIPS[0], (large,)).verdict is None


def test_a_flagship_is_judged_by_its_integer_model_where_that_was_run(tmp_path):
    model = (
        load_index()
        .models[0]
        .model_copy(update={"size": "m", "weight_bits": 4, "activation_bits": 8, "weight_bytes": 1, "top1_test": 91.6})
    )
    rows = [{"backend": "host_c", "images": images, "top1": top1} for images, top1 in ((500, 99.0), (10_000, 91.4))]
    (tmp_path / "exactness.json").write_text(json.dumps({"nets": [{"model_sha256": model.sha256, "rows": rows}]}))
    proved = integer_accuracies(tmp_path / "exactness.json")
    assert proved == {model.sha256: 91.4}
    judged = flagship_goal(FLAGSHIPS[0], (model,), proved)
    assert (judged.measured.split(",")[0], str(judged.verdict)) == ("91.40 %", "**missed**")
    assert judged.where.endswith("integer model")
    assert str(flagship_goal(FLAGSHIPS[0], (model,)).verdict) == "reached"
    assert integer_accuracies(tmp_path / "none.json") == {}


def test_the_zoos_losses_are_of_the_float_net_that_each_came_from(tmp_path):
    float_net, quantized = (
        next(m for m in load_index().models if m.name == f"cifar10-m-{kind}") for kind in ("float", "w4a8")
    )
    models = [
        float_net.model_copy(update={"top1_test": 91.0}),
        quantized.model_copy(update={"top1_float": 91.0, "top1_test": 90.8}),
    ]
    write_json(tmp_path / "index.json", ZooIndex(models=tuple(models)).model_dump())
    assert "| `m` | 91.00 | – | 90.80 (0.20) | – | – | – |" in zoo_section(tmp_path, tmp_path / "none.json")
    rows = [{"backend": "host_c", "images": 10_000, "top1": 91.1}]
    (tmp_path / "exactness.json").write_text(json.dumps({"nets": [{"model_sha256": quantized.sha256, "rows": rows}]}))
    assert "| 91.10* (-0.10) |" in zoo_section(tmp_path, tmp_path / "exactness.json")
    assert "| goal of the loss |  |  | 0.3 | 0.7 | 1.5 | 0.7 |" in zoo_section(tmp_path)
    assert zoo_section(tmp_path / "none") == ""


def test_step_costs_come_from_the_training_benchmark(tmp_path):
    row = {
        "variant": "float oabn",
        "baseline": "float bn",
        "ratio": 1.2,
        "ratio_quartiles": [1.05, 1.3],
        "goal": 1.1,
        "reached": False,
    }
    bwrf = {
        "variant": "qat bn lsq bwrf",
        "baseline": "qat bn lsq",
        "ratio": 2.0,
        "ratio_quartiles": [1.9, 2.1],
        "goal": None,
    }
    (tmp_path / "training.json").write_text(json.dumps({"rows": [row, bwrf]}))
    (goal, reported) = step_goals(tmp_path / "training.json")
    assert goal.row == [
        "a training step of float oabn costs at most 1.1×",
        "1.200× of float bn (quartiles 1.050 – 1.300)",
        "CPU time",
        "**missed**, within noise",
    ]
    assert reported.row == [
        "a training step of qat bn lsq bwrf: reported",
        "2.000× of qat bn lsq (quartiles 1.900 – 2.100)",
        "CPU time",
        "–",
    ]


def test_verdicts_by_hand():
    assert str(at_most([0.1, 0.2, 0.3], 0.5)) == "reached"  # 0.2 ± 0.25
    assert str(at_most([0.1, 0.2, 0.3], 0.3)) == "reached, within noise"
    assert str(at_most([0.4], 0.3, 0.2)) == "**missed**, within noise"
    assert at_most([], 1.0) is None and lower_end_above([1.0], 0.0) is None
    assert str(lower_end_above([0.0, 0.0, 0.0], -0.3)) == "reached"
    assert noise_of_one([1.0, 2.0, 3.0]) == pytest.approx(4.303 * 2**0.5)
