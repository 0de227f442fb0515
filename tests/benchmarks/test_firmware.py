"""The firmware benchmark compares every logit, keeps finished chunks, and says in its page what its results say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import firmware
from benchmarks.firmware_tables import markdown
from convert.integer_model_file import save_integer_model
from convert.reference import run
from convert.vectors import Vectors, save_vectors
from deploy.targets import load_target
from tests.need import need
from tests.random_models import random_images, random_model
from train.errors import ArtefactError

IMAGES = 7


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A run folder of a random net."""
    folder = tmp_path_factory.mktemp("runs") / "random-net"
    model = random_model(1)
    images = random_images(np.random.default_rng(2), IMAGES, model.input_hwc)
    (folder / "convert").mkdir(parents=True)
    save_integer_model(model, folder / "convert" / firmware.MODEL_FILE)
    vectors = Vectors(images, np.zeros(IMAGES, np.uint8), run(model, images))
    save_vectors(vectors, folder / "convert" / firmware.VECTORS_FILE)
    return folder


def test_every_image_is_compared_and_a_finished_chunk_is_not_run_again(net, tmp_path, monkeypatch):
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "make", "cc")
    monkeypatch.setattr(firmware, "CHUNK", 3)
    converted = firmware.load_net(net, tmp_path, None, images=100)
    row = firmware.measure(converted, load_target("cortex-m4"), tmp_path, images=100)
    assert (row["images"], row["logits_compared"], row["mismatches"]) == (IMAGES, 10 * IMAGES, 0)
    assert row["stack_used_bytes"] <= row["stack_bound_bytes"]
    monkeypatch.setattr(firmware, "run_images", lambda *_, **__: pytest.fail("a finished chunk ran again"))
    assert firmware.measure(converted, load_target("cortex-m4"), tmp_path, images=100) == row
    page = markdown([{"net": "random-net", **row}])
    assert f"Logits that differ from the reference: 0 of {10 * IMAGES}." in page
    assert f"{row['instructions']:,}" in page


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="run repedge convert"):
        firmware.load_net(tmp_path, tmp_path, None, images=1)


def test_committed_page_is_made_of_the_committed_results():
    rows = json.loads(firmware.RESULTS.read_text())["rows"]
    assert markdown(rows) == firmware.PAGE.read_text()
    assert {row["mismatches"] for row in rows} == {0}
