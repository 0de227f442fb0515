"""The recipe: what it accepts, and one clear error for what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from repedge.recipe import load_recipe
from train.errors import ConfigError

RECIPE = """
name: tiny
data: {name: digits}
model: {widths: [8, 8], depths: [1, 2], strides: [2, 2]}
"""


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def test_a_short_recipe_is_filled_with_defaults(recipe_path):
    recipe = load_recipe(recipe_path)
    assert recipe.quantize.weights.bit_width == 4
    assert recipe.deploy.targets == ("cortex-m4", "cortex-a53", "ethos-u55-128")


def test_the_written_recipe_reads_back_the_same(recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").sha256() == recipe.sha256()


def test_set_overrides_a_nested_key(recipe_path):
    recipe = load_recipe(recipe_path, ["quantize.weights.bit_width=2", "seed=7"])
    assert (recipe.quantize.weights.bit_width, recipe.seed) == (2, 7)


@pytest.mark.parametrize(("text", "size"), [("40960", 40960), ("40KB", 40960), ("40k", 40960), ("1 MiB", 2**20)])
def test_a_limit_on_ram_is_bytes_or_kilobytes(recipe_path, text, size):
    assert load_recipe(recipe_path, [f"deploy.ram_limit={text}"]).deploy.ram_limit == size


@pytest.mark.parametrize(
    ("overrides", "entries"),
    [
        (["deploy.targets=[ethos-u55-128, ethos-u85-256]"], 32),
        (["deploy.targets=[ethos-u55-128]", "quantize.weights.max_entries=255"], 255),
        (["deploy.targets=[ethos-u55-128, cortex-m4]"], 255),
        (["deploy.targets=[]"], 255),
        (["deploy.targets=[no-such-board]"], 255),
    ],
)
def test_codebooks_fit_the_npus_palette_where_all_targets_are_npus(recipe_path, overrides, entries):
    assert load_recipe(recipe_path, overrides).quantize.weights.max_entries == entries


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quantize.weights.bitwidth=3", "unknown key; did you mean bit_width"),
        ("quantize.weights.bit_width=9", "found 9; .*at most 8"),
        ("model.size=xs", "exclude each other"),
        ("data.resize=8", "data.resize"),
        ("budget.targets.cortex-m4.flash=3", "did you mean flash_bytes"),
        ("deploy.ram_limit=much", "found 'much'; allowed are bytes, KB or MB"),
        ("deploy.ram_limit=0", "more than 0"),
        ("model={size: xxs}", "model.size: found 'xxs'; did you mean xs. allowed are xs, s, m, a0, a1"),
        ("data=5", "data: found 5; allowed is a section with the keys name, path"),
        ("seed=-1", "seed: found -1; allowed is at least 0"),
        ("seed", "not of the form"),
        ("name=No Spaces", "name"),
    ],
)
def test_a_wrong_value_is_one_error_naming_its_place(recipe_path, override, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load_recipe(recipe_path, [override])


def test_a_missing_recipe_says_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_recipe(tmp_path / "nothing.yaml")


def test_broken_yaml_is_a_config_error(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("name: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_recipe(path)
