from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from convert.c_source import FOLDER_NAME, write_c_model
from convert.reference import run
from convert.vectors import Vectors
from deploy import cortex_m
from deploy.cortex_m import STATIC_RAM_BYTES, RamLimits, deploy_cortex_m, target_plan
from deploy.elf_symbols import read_elf
from deploy.elf_weights import check_elf_weights
from deploy.result import ConvertedModel
from deploy.targets import load_target
from tests.need import need
from tests.random_models import random_images, random_model
from train.errors import BudgetExceeded, Mismatch

IMAGES = 20


@pytest.fixture(scope="module", autouse=True)
def _tools():
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "make", "cc")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A convert folder's content for a random net on 8x8 images."""
    folder = tmp_path_factory.mktemp("convert")
    model = random_model(1)
    rng = np.random.default_rng(2)
    images = random_images(rng, IMAGES, model.input_hwc)
    labels = rng.integers(0, 10, IMAGES).astype(np.uint8)
    write_c_model(model, folder / FOLDER_NAME, source_hash="0" * 64)
    return ConvertedModel(folder, model, Vectors(images, labels, run(model, images)))


def _m4_plan(model):
    return target_plan(model, load_target("cortex-m4"))


@pytest.fixture(scope="module")
def m4_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("m4")


@pytest.fixture(scope="module")
def m4(converted, m4_folder):
    return deploy_cortex_m(converted, load_target("cortex-m4"), m4_folder, images=IMAGES)


def test_m4_gives_the_logits_of_the_reference(m4):
    assert m4.backend == "firmware_cortex-m4"
    assert (m4.exactness.images, m4.exactness.logits_mismatched) == (IMAGES, 0)
    assert m4.exactness.saturated_share < 0.5


@pytest.mark.parametrize("name", ["nucleo-g071rb", "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_other_cores_give_the_logits_of_the_reference(name, converted, tmp_path):
    result = deploy_cortex_m(converted, load_target(name), tmp_path, images=3)
    assert (result.exactness.images, result.exactness.logits_mismatched) == (3, 0)
    # 1 KiB where a recursive or unknown call would have been an error
    assert max(result.target["stack_used_bytes"].values()) <= result.target["stack_bound_bytes"]["program"] < 1024 + 512
    assert result.target["ram_bytes"]["static"] == STATIC_RAM_BYTES


def test_layers_sum_to_the_totals(m4):
    layers = m4.target["layers"]
    assert sum(layer["instructions"] for layer in layers) == m4.target["instructions"]
    assert sum(layer["flash_bytes"] for layer in layers) == m4.target["flash_bytes"]["weights"]
    for end in ("low", "mid", "high"):
        assert sum(layer["cycles_estimated_band"][end] for layer in layers) == m4.target["cycles_estimated"][end]


def test_entry_follows_the_reports_schema(m4):
    schema = json.loads((Path(cortex_m.__file__).parent / "report.schema.json").read_text())
    entry = {"backend": m4.backend, **m4.target}
    jsonschema.validate(entry, {"$ref": "#/$defs/target", "$defs": schema["$defs"]})


def test_flash_and_ram_parts_sum_to_their_totals(m4):
    for memory in ("flash_bytes", "ram_bytes"):
        parts = dict(m4.target[memory])
        assert parts.pop("total") == sum(parts.values())


def test_weights_in_flash_are_those_of_the_model_and_padding(m4, converted):
    padding = m4.target["flash_bytes"]["weights"] - converted.model.weight_bytes
    assert 0 <= padding < 16 * 5 * len(m4.target["layers"])


def test_entry_names_layers_in_the_models_order(m4, converted):
    assert [(layer["name"], layer["macs"]) for layer in m4.target["layers"]] == [
        (shape.name, shape.macs) for shape in converted.model.shapes()
    ]


def test_both_measures_of_the_stack_agree_and_stay_under_the_bound(m4):
    used, bound = m4.target["stack_used_bytes"], m4.target["stack_bound_bytes"]
    assert used["paint"] == used["stores"] <= bound["program"] <= m4.target["ram_bytes"]["stack"]
    assert bound["inference"] < bound["program"] < 1.5 * used["paint"]


def test_peak_ram_is_arena_and_the_bound_on_the_stack_and_written_before_the_run(m4, m4_folder):
    peak = m4.target["peak_ram_bytes"]
    assert peak["total"] == m4.target["ram_bytes"]["arena"] + m4.target["stack_bound_bytes"]["inference"]
    text = (m4_folder / "bounds.txt").read_text()
    assert text.startswith(f"peak RAM of an inference: {peak['total']} bytes")
    assert (m4_folder / "bounds.txt").stat().st_mtime_ns < (m4_folder / "run" / "logits.bin").stat().st_mtime_ns


def test_mean_over_images_is_close_to_the_first(m4):
    mean = m4.target["instructions_mean"]
    assert mean["images"] == 8
    assert abs(mean["mean"] / m4.target["instructions"] - 1) < 0.02  # clamped values take another branch


def test_another_build_and_run_gives_the_same_entry(m4, converted, tmp_path):
    again = deploy_cortex_m(converted, load_target("cortex-m4"), tmp_path, images=IMAGES + 1)
    assert again.target == m4.target
    assert again.exactness.images == IMAGES
    assert "the test split has no more" in again.notices[0]


def test_ram_that_the_chip_does_not_have_fails_at_link(converted, tmp_path):
    target = load_target("cortex-m4")
    small = target.model_copy(update={"ram": target.ram.model_copy(update={"size_bytes": 3072})})
    with pytest.raises(BudgetExceeded, match=r"RAM by \d+ bytes"):
        deploy_cortex_m(converted, small, tmp_path, images=1)


def test_an_elf_with_other_weights_is_refused(converted, m4, m4_folder):
    conv = converted.model.convs[0]
    other = replace(conv, bias=conv.bias + np.int32(1))
    model = replace(converted.model, convs=(other, *converted.model.convs[1:]))
    with pytest.raises(Mismatch, match="layer conv0: bias"):
        check_elf_weights(read_elf(m4_folder / "build" / "repedge.elf"), model, _m4_plan(model))


def test_functions_hold_every_instruction_of_every_layer(m4, m4_folder):
    for layer in m4.target["layers"]:
        counted = [row["layers"].get(layer["name"], 0) for row in m4.target["functions"]]
        assert sum(counted) == layer["instructions"]
    assert "repedge_dsp_multiply_row" in {row["name"] for row in m4.target["functions"]}
    text = (m4_folder / "profile" / "functions.txt").read_text()
    assert text.startswith(f"{m4.target['instructions']:>14,}")


def test_layers_tell_their_memory_traffic(m4, converted):
    for layer, shape in zip(m4.target["layers"], converted.model.shapes(), strict=True):
        assert layer["store_bytes"] >= np.prod(shape.output_hwc)
        assert layer["load_bytes"] >= np.prod(shape.input_hwc)
        assert layer["loads"] <= layer["load_bytes"] <= 4 * layer["loads"]


def test_pool_and_classifier_are_named(m4):
    assert [layer["kernel"] for layer in m4.target["layers"][-2:]] == [
        "portable_average_pool",
        "portable_fully_connected",
    ]


def test_kernel_code_is_part_of_the_code(m4):
    code = m4.target["kernel_code_bytes"]
    assert code["total"] == sum(code["objects"].values()) + code["libgcc"]
    assert 4000 < code["total"] < m4.target["flash_bytes"]["code"] + m4.target["flash_bytes"]["other"]
    assert "repedge_invoke.c.obj" in code["objects"]
    assert not [name for name in code["objects"] if "main" in name or "startup" in name or "model_data" in name]


def test_built_point_lies_on_the_scale_of_the_trade_offs(m4):
    trade_off = m4.target["trade_off"]
    assert trade_off["kind"] == "estimated"
    assert trade_off["built"]["instructions"] == m4.target["instructions"]
    assert trade_off["built"]["instructions_estimated"] == pytest.approx(m4.target["instructions"], rel=0.2)
    assert min(point["ram_bytes"] for point in trade_off["points"]) <= m4.target["ram_bytes"]["total"]


def test_demanded_ram_below_the_smallest_possible_names_that(converted):
    target = load_target("cortex-m4")
    with pytest.raises(BudgetExceeded, match=r"limit is 3000 bytes, the smallest feasible is (\d+)") as caught:
        target_plan(converted.model, target, limits=RamLimits(demanded=3000))
    least = int(str(caught.value).split("feasible is ")[1].split()[0])
    plan = target_plan(converted.model, target, limits=RamLimits(demanded=least))
    assert plan.arena_bytes + target.stack_bytes + STATIC_RAM_BYTES == least
    with pytest.raises(BudgetExceeded):
        target_plan(converted.model, target, limits=RamLimits(demanded=least - 1))


def test_budgeted_ram_below_the_smallest_possible_is_left_to_the_budget(converted):
    least = target_plan(converted.model, load_target("cortex-m4"), prefer="ram")
    assert target_plan(converted.model, load_target("cortex-m4"), limits=RamLimits(budgeted=3000)) == least
