"""A small digits run, trained once, that the fits of these tests start from."""

from __future__ import annotations

import pytest
import yaml

from repedge.cli import main

RECIPE = {
    "name": "small",
    "data": {"name": "digits"},
    "model": {"widths": [4, 8], "depths": [1, 2], "strides": [2, 2]},
    "train": {
        "threads": 1,
        "float_phase": {"epochs": 3, "learning_rate": 0.1},
        "qat_phase": {"epochs": 1, "learning_rate": 0.01},
    },
    "deploy": {"targets": ["cortex-m4"]},
}


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The folder of a trained run."""
    folder = tmp_path_factory.mktemp("fit") / "small"
    recipe = folder.parent / "small.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    assert main(["train", str(recipe), "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="session")
def small_net(small_run, tmp_path_factory):
    """Its float net."""
    from repedge.fit.nets import Start

    return Start(tmp_path_factory.mktemp("net")).net(small_run)


@pytest.fixture(scope="session")
def small_layers(small_net):
    """The net quantized at 2 to 8 bits."""
    from repedge.fit.post_trained import quantize_after_training

    images, _ = small_net.calibration(64)
    classes = small_net.dataset.class_names
    return quantize_after_training(small_net.merged, small_net.recipe.quantize, images, classes, tuple(range(8, 1, -1)))
