"""The shipped recipes' training sections."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from train.config import TrainingRecipe
from train.layout import layout_of
from train.model import RepVGG

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def training_recipe(path: Path) -> TrainingRecipe:
    content = yaml.safe_load(path.read_text())
    return TrainingRecipe(**{key: value for key, value in content.items() if key in TrainingRecipe.model_fields})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_named_as_its_file_and_builds_a_network(path):
    recipe = training_recipe(path)
    RepVGG(recipe.model, recipe.norm, recipe.quantize, input_channels=3, classes=10)
    assert yaml.safe_load(path.read_text())["name"] == path.stem


def test_quickstart_has_five_convolutions_an_identity_block_and_two_strides_of_two():
    recipe = training_recipe(next(path for path in RECIPES if path.stem == "quickstart"))
    network = RepVGG(recipe.model, recipe.norm, recipe.quantize, input_channels=1, classes=10)
    assert len(network.blocks) >= 5
    assert any(block.norm_identity is not None for block in network.blocks)
    assert layout_of(recipe.model).strides.count(2) >= 2
