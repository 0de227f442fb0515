from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploy.budget import check_budget, check_figures_exist, load_budget, raise_if_broken, value_text
from deploy.config import BudgetConfig
from deploy.targets import load_target
from train.errors import BudgetExceeded, ConfigError

ROWS = [
    {"name": "a", "flash_bytes": 10, "ram_bytes": 90, "instructions": 5, "cycles_estimated": 70},
    {"name": "b", "flash_bytes": 30, "ram_bytes": 20, "instructions": 50, "cycles_estimated": 60},
]


def make_report(**target) -> dict:
    figures = {
        "flash_bytes": {"total": 100}, "ram_bytes": {"total": 100}, "instructions": 100,
        "latency_ms_estimated": {"low": 1.0, "mid": 2.0, "high": 3.0}, "layers": ROWS,
        "regions": {"flash": {"used_bytes": 100, "size_bytes": 900}, "ram": {"used_bytes": 100, "size_bytes": 500},
                    "ccm": {"used_bytes": 0, "size_bytes": 64}},
    }  # fmt: skip
    accuracy = {"float_train": {"top1": 97.5, "images": 200}, "numpy": {"top1": 96.5, "images": 200}}
    return {"accuracy": accuracy, "targets": {"m4": figures | target}, "layers": ROWS, "model": {"weight_bytes": 70}}


def check(report: dict, **limits) -> dict:
    return check_budget(BudgetConfig.model_validate({"targets": {"m4": limits}}), report)


@given(value=st.integers(1, 2**40), key=st.sampled_from(["flash_bytes", "ram_bytes", "instructions"]))
def test_limit_met_exactly_passes_and_broken_by_one_fails(value, key):
    report = make_report(**{key: value + 1 if key == "instructions" else {"total": value + 1}})
    assert check(report, **{key: value + 1})["passed"]
    assert not check(report, **{key: value})["passed"]


@given(value=st.integers(0, 2**40), region=st.sampled_from(["flash", "ram", "ccm"]))
def test_region_limit_met_exactly_passes_and_broken_by_one_byte_fails(value, region):
    report = make_report(regions={region: {"used_bytes": value + 1, "size_bytes": 2**41}})
    assert check(report, regions={region: value + 1})["passed"]
    assert not check(report, regions={region: value})["passed"]


@given(value=st.integers(1, 2**40))
def test_weight_limit_met_exactly_passes_and_broken_by_one_byte_fails(value):
    report = make_report() | {"model": {"weight_bytes": value + 1}}
    for limit, passes in ((value + 1, True), (value, False)):
        result = check_budget(BudgetConfig.model_validate({"model": {"weight_bytes": limit}}), report)
        assert result["passed"] is passes
        assert result["limits"][0]["worst_layer"] == "b"


def test_a_limit_of_zero_bytes_says_that_a_region_stays_free():
    assert check(make_report(), regions={"ccm": 0})["passed"]
    limit = check(make_report(), regions={"ram": 99})["limits"][0]
    assert (limit["name"], limit["passed"], limit["worst_layer"]) == ("m4.regions.ram", False, "a")


def test_unknown_region_is_an_error_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"regions\.cccm: no such memory region; m4 has .*did you mean ccm"):
        check(make_report(), regions={"cccm": 1})
    report = make_report()
    del report["targets"]["m4"]["regions"]
    with pytest.raises(ConfigError, match="holds no memory regions"):
        check(report, regions={"ram": 1})


def test_region_limits_are_checked_before_any_work():
    board = load_target("cortex-m4")
    budget = BudgetConfig.model_validate({"targets": {"cortex-m4": {"regions": {"ccm": 0, "ram": 4096}}}})
    check_figures_exist(budget, [board])
    assert budget.targets["cortex-m4"].ram_limit_bytes == 4096
    wrong = BudgetConfig.model_validate({"targets": {"cortex-m4": {"regions": {"cmm": 0}}}})
    with pytest.raises(ConfigError, match="did you mean ccm"):
        check_figures_exist(wrong, [board])


@given(value=st.integers(1, 10**9), limit=st.integers(1, 10**9), looser=st.integers(0, 10**9))
def test_raising_a_limit_never_breaks_it(value, limit, looser):
    report = make_report(flash_bytes={"total": value})
    assert check(report, flash_bytes=limit + looser)["passed"] >= check(report, flash_bytes=limit)["passed"]


@given(low=st.floats(0.001, 1e6), width=st.floats(0, 1e6))
def test_latency_is_compared_with_the_upper_end_of_its_band(low, width):
    high = low + width
    report = make_report(latency_ms_estimated={"low": low, "mid": low, "high": high})
    limit = check(report, latency_ms=high)["limits"][0]
    assert limit["value"] == high and limit["passed"]
    assert not check(report, latency_ms=high * (1 - 1e-9))["passed"]


@given(images=st.integers(1, 2000), data=st.data())
def test_accuracy_met_exactly_passes_and_one_image_less_fails(images, data):
    right = data.draw(st.integers(1, images))
    report = make_report()
    report["accuracy"]["numpy"]["top1"] = 100.0 * float(right / images)
    config = BudgetConfig.model_validate({"accuracy": {"top1_min": round(100 * right / images, 9)}})
    assert check_budget(config, report)["passed"]
    report["accuracy"]["numpy"]["top1"] = 100.0 * float((right - 1) / images)
    assert not check_budget(config, report)["passed"]


@given(value=st.floats(0.001, 1000), limit=st.floats(0.001, 1000))
def test_a_printed_value_lies_on_the_side_of_the_limit_where_the_value_lies(value, limit):
    value = round(value, 9)
    shown = float(value_text({"value": value, "limit": limit}).replace(",", ""))
    assert (shown < limit, shown > limit) == (value < limit, value > limit) or abs(value - limit) < 1e-7 * limit


def test_loss_of_one_point_meets_a_limit_of_one_point():
    config = BudgetConfig.model_validate({"accuracy": {"top1_loss_max": 1.0}})
    assert check_budget(config, make_report())["limits"][0]["value"] == 1.0
    assert check_budget(config, make_report())["passed"]


@pytest.mark.parametrize(
    ("key", "worst"), [("flash_bytes", "b"), ("ram_bytes", "a"), ("instructions", "b"), ("latency_ms", "a")]
)
def test_worst_layer_is_the_one_with_the_largest_share(key, worst):
    assert check(make_report(), **{key: 1000})["limits"][0]["worst_layer"] == worst


def test_worst_layer_of_a_target_without_layers_is_the_models():
    assert check(make_report(layers=[]), flash_bytes=1000)["limits"][0]["worst_layer"] == "b"


def test_budget_without_limits_passes_with_an_empty_list():
    assert check_budget(BudgetConfig(), make_report()) == {"passed": True, "limits": []}


def test_latency_limit_without_an_estimate_is_an_error_naming_what_exists():
    with pytest.raises(
        ConfigError, match=r"targets\.m4\.latency_ms: no such figure.*flash_bytes, ram_bytes, instructions"
    ):
        check(make_report(latency_ms_estimated=None), latency_ms=5)


def test_unknown_target_is_an_error_with_the_nearest_name():
    config = BudgetConfig.model_validate({"targets": {"m44": {"flash_bytes": 1}}})
    with pytest.raises(ConfigError, match=r"targets\.m44: no such target.*did you mean m4"):
        check_budget(config, make_report())


def test_accuracy_limit_without_that_stage_is_an_error():
    report = make_report()
    del report["accuracy"]["float_train"]
    with pytest.raises(ConfigError, match="no accuracy of float_train"):
        check_budget(BudgetConfig.model_validate({"accuracy": {"top1_loss_max": 1}}), report)


@pytest.mark.parametrize("limit", [float("nan"), float("inf")])
def test_limit_that_is_not_finite_is_an_error(limit):
    with pytest.raises(ConfigError, match="finite"):
        check_budget(BudgetConfig.model_validate({"accuracy": {"top1_loss_max": limit}}), make_report())


def test_broken_limits_are_raised_with_value_limit_and_worst_layer():
    with pytest.raises(
        BudgetExceeded, match=r"m4\.flash_bytes: 100 bytes, allowed at most 99; worst layer: b"
    ) as caught:
        raise_if_broken(check(make_report(), flash_bytes=99, ram_bytes=100))
    assert caught.value.exit_code == 1
    raise_if_broken(check(make_report(), flash_bytes=100))


def test_budget_file_is_read(tmp_path):
    path = tmp_path / "budget.yaml"
    path.write_text("accuracy: {top1_min: 97}\ntargets:\n  cortex-m4: {flash_bytes: 65_536}\n")
    assert load_budget(path).targets["cortex-m4"].flash_bytes == 65536


def test_sizes_in_a_budget_may_have_a_unit(tmp_path):
    path = tmp_path / "budget.yaml"
    path.write_text("targets:\n  cortex-m4: {flash_bytes: 64KB, ram_bytes: 16 KiB, regions: {ccm: 1KB}}\n")
    limits = load_budget(path).targets["cortex-m4"]
    assert (limits.flash_bytes, limits.ram_bytes, limits.regions) == (65536, 16384, {"ccm": 1024})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: {}", "target: unknown key; did you mean targets. allowed here: accuracy, model, targets"),
        ("accuracy: {top1: 97}", r"accuracy\.top1: unknown key; .*did you mean top1_m"),
        ("targets: {m4: {flash: 1}}", r"targets\.m4\.flash: unknown key; .*did you mean flash_bytes"),
        ("targets: {m4: {regions: {ram: -1}}}", r"targets\.m4\.regions\.ram: found -1"),
        ("model: {weight_byte: 5}", "model.weight_byte: unknown key; did you mean weight_bytes"),
        ("targets: {m4: {flash_bytes: -1}}", r"targets\.m4\.flash_bytes: found -1"),
        ("targets: {m4: {}}", "no limit in it"),
        ("- 1", "holds a list, allowed is a mapping"),
        ("model: {weight_bytes: 1}\nmodel: {weight_bytes: 9}", "key model stands twice, in lines 1 and 2"),
        ("targets: {m4: 5}", "targets.m4: found 5; allowed is a section with the keys flash_bytes, ram_bytes"),
        ("targets: [m4]", r"targets: found \['m4'\]; allowed is a mapping"),
        ("accuracy: {top1_min: 97%}", "accuracy.top1_min: found '97%'; allowed is a number, without a unit"),
        ("a: [", "not valid YAML"),
    ],
)
def test_wrong_budget_file_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "budget.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_budget(path)
    assert caught.value.exit_code == 2


def test_missing_budget_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_budget(tmp_path / "none.yaml")


def test_a_limit_on_an_unverified_figure_of_the_report_is_refused():
    report = make_report(unverified_limits={"latency_ms": "clock_hz"})
    assert check(report, flash_bytes=100)["passed"]
    with pytest.raises(ConfigError, match=r"targets\.m4\.latency_ms: it would rest on clock_hz"):
        check(report, latency_ms=5)


def test_the_budget_and_the_workflow_of_the_page_on_budgets_are_valid():
    page = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text()
    budget, workflow = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    check_figures_exist(BudgetConfig.model_validate(budget), [load_target("cortex-m4")])
    commands = [step["run"] for step in workflow["jobs"]["budget"]["steps"] if "run" in step]
    assert any("repedge check" in command and "--junit" in command for command in commands)
