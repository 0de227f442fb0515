"""A RepVGG checkpoint file of a public layout enters at convert and becomes an integer model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repedge.cli import main
from tests.train.test_foreign import renamed
from train.checkpoint import ModelDescription, build_network
from train.config import ModelConfig, NormConfig

RECIPE = """
name: foreign
data: {name: digits}
model: {widths: [4, 4, 8], depths: [1, 2, 2], strides: [1, 1, 2]%s}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.yaml"
    path.write_text(RECIPE % "")
    return path


def checkpoint(tmp_path: Path, groups: int = 1) -> Path:
    torch.manual_seed(0)
    model = ModelConfig(widths=(4, 4, 8), depths=(1, 2, 2), strides=(1, 1, 2), groups=groups)
    description = ModelDescription(
        class_names=tuple("0123456789"), input_hwc=(8, 8, 1), model=model, norm=NormConfig(kind="bn")
    )
    torch.save({"state_dict": renamed(build_network(description), "authors")}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_a_checkpoint_file_is_converted_also_by_recipe_key(recipe, tmp_path):
    path = checkpoint(tmp_path)
    assert main(["convert", str(recipe), "--checkpoint", str(path), "--out", str(tmp_path / "a"), "--quiet"]) == 0
    named = [
        "--set",
        f"checkpoint.file={path}",
        "--set",
        "checkpoint.input_mean=[0.5]",
        "--set",
        "checkpoint.input_std=[1.0]",
    ]
    assert main(["convert", str(recipe), *named, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    models = [(tmp_path / run / "convert" / "integer_model.safetensors").read_bytes() for run in "ab"]
    assert models[0] != models[1]  # the second one's images were normalised


def test_a_grouped_net_is_not_lowered(tmp_path, capsys):
    recipe = tmp_path / "foreign.yaml"
    recipe.write_text(RECIPE % ", groups: 2")
    path = checkpoint(tmp_path, groups=2)
    assert main(["convert", str(recipe), "--checkpoint", str(path), "--out", str(tmp_path / "a"), "--quiet"]) == 2
    assert "layer stage2.1: a grouped convolution (2 groups)" in capsys.readouterr().err
