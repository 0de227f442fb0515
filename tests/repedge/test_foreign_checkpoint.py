"""A checkpoint from elsewhere enters at convert; a bad one is one clear error and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repedge.cli import main
from tests.convert.test_from_qat import CLASSES, HWC, qat_network
from train.checkpoint import ModelDescription, save_description, save_network
from train.config import ModelConfig

RECIPE = """
name: foreign
data: {name: digits}
model: {widths: [8, 12], depths: [2, 2], strides: [1, 2]}
"""


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """(recipe, checkpoint folder without a manifest)."""
    recipe, folder = tmp_path / "foreign.yaml", tmp_path / "checkpoint"
    recipe.write_text(RECIPE)
    folder.mkdir()
    network = qat_network("cluster")
    model = ModelConfig(widths=(8, 12), depths=(2, 2), strides=(1, 2))
    description = ModelDescription(class_names=CLASSES, input_hwc=HWC, model=model, quantize=network.quantize)
    save_description(folder, description)
    save_network(folder, network)
    return recipe, folder


def convert(given: tuple[Path, Path], tmp_path: Path) -> int:
    recipe, folder = given
    return main(["convert", str(recipe), "--checkpoint", str(folder), "--out", str(tmp_path / "run"), "--quiet"])


def alter(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def set_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["stage1.1.conv3x3.weight"][0, 0, 0, 0] = float("nan")


def group_kernel(tensors: dict[str, torch.Tensor]) -> None:
    tensors["stage1.1.conv3x3.weight"] = tensors["stage1.1.conv3x3.weight"][:, :4].contiguous()


def drop_tensor(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["classifier.bias"]


def test_a_qat_checkpoint_without_a_manifest_is_converted(given, tmp_path):
    assert convert(given, tmp_path) == 0
    assert (tmp_path / "run" / "convert" / "integer_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_nan, "stage1.1.conv3x3.weight holds 1 NaN"),
        (group_kernel, "group"),
        (drop_tensor, "classifier.bias"),
    ],
)
def test_a_bad_tensor_is_named(given, tmp_path, capsys, change, message):
    alter(given[1] / "qat.safetensors", change)
    assert convert(given, tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "convert").exists()


def test_a_truncated_checkpoint_is_named(given, tmp_path, capsys):
    path = given[1] / "qat.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert convert(given, tmp_path) == 2
    assert "truncated" in capsys.readouterr().err
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["recipe.yaml"]


def test_an_empty_folder_is_refused(given, tmp_path, capsys):
    for path in given[1].iterdir():
        path.unlink()
    assert convert(given, tmp_path) == 2
    assert "model.json: missing" in capsys.readouterr().err
