from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from convert.c_source import FOLDER_NAME, write_c_model
from convert.memory_plan import plan_memory
from convert.reference import run
from convert.vectors import Vectors
from deploy import cortex_m
from deploy.cortex_m import check_stores, deploy_cortex_m, target_plan
from deploy.elf_symbols import ElfImage, Symbol, read_elf
from deploy.elf_weights import check_elf_weights
from deploy.profile import BucketCount, Profile
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


@pytest.mark.parametrize("core", ["m3", "m7", "m33", "m55"])
def test_other_cores_give_the_logits_of_the_reference(core, converted, tmp_path):
    result = deploy_cortex_m(converted, load_target(f"cortex-{core}"), tmp_path, images=3)
    assert (result.exactness.images, result.exactness.logits_mismatched) == (3, 0)


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


def test_both_measures_of_the_stack_agree(m4):
    used = m4.target["stack_used_bytes"]
    assert used["paint"] == used["stores"] <= m4.target["ram_bytes"]["stack"]


def test_layers_store_to_their_own_part_of_the_arena(m4, converted):
    plan = _m4_plan(converted.model)
    for layer, placement in zip(m4.target["layers"][:-1], plan.placements[:-1], strict=True):
        low, high = layer["arena_touched"]
        outputs = (placement.output_offset, placement.output_offset + placement.output_bytes)
        scratch = (placement.scratch_offset, placement.scratch_offset + placement.scratch_bytes)
        used = (outputs, scratch) if placement.scratch_bytes else (outputs,)
        assert min(start for start, _ in used) <= low
        assert high <= max(end for _, end in used)


def test_a_store_outside_of_the_arena_is_refused(converted):
    plan = plan_memory(converted.model)
    arena = Symbol("repedge_arena", "STT_OBJECT", 0x20000800, plan.arena_bytes)
    image = ElfImage(Path("made.elf"), (), {arena.name: arena}, {})
    quiet = BucketCount(0, 0, 0, 0, 0, None)
    buckets = dict.fromkeys(range(len(plan.placements)), quiet)
    buckets[2] = replace(quiet, touched=(arena.address, arena.end + 1))
    with pytest.raises(Mismatch, match="layer conv2: stores to"):
        check_stores(Profile((), buckets, 0, None), image, plan)


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
