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
        ("seed=[", "--set seed=.*not valid YAML"),
        ("data.resize=[0, 0]", "data.resize.*at least 1"),
        ("model.widths=[]", "one entry per stage"),
        ("quantize.weights.layers.stage1=9", "found 9; allowed is at most 8"),
        ("name=No Spaces", "name"),
    ],
)
def test_a_wrong_value_is_one_error_naming_its_place(recipe_path, override, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load_recipe(recipe_path, [override])


def test_a_missing_recipe_says_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_recipe(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [", "not valid YAML"),
        (b"name: caf\xe9", "not valid YAML"),
        (RECIPE.encode() + b"seed: 1\nseed: 2\n", "key seed stands twice, in lines 5 and 6; remove one"),
        (b"data: {name: digits, name: idx}", "key name stands twice"),
        (b"", "holds nothing, allowed is a mapping of sections"),
        (b"- a", "holds a list, allowed is a mapping of sections"),
        (b"? [a]\n: 1", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_error(tmp_path, content, message):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"recipe .*broken.yaml.*{message}"):
        load_recipe(path)


def test_a_folder_in_place_of_a_recipe_is_one_error(tmp_path):
    with pytest.raises(ConfigError, match=r"a folder, allowed is a YAML file; .*repedge init"):
        load_recipe(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(recipe_path, tmp_path):
    (tmp_path / "windows.yaml").write_bytes(b"\xef\xbb\xbf" + RECIPE.replace("\n", "\r\n").encode())
    assert load_recipe(tmp_path / "windows.yaml").sha256() == load_recipe(recipe_path).sha256()


def test_a_merge_key_may_be_overridden(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text(RECIPE + "train: {qat_phase: {<<: {epochs: 3, batch_size: 16}, epochs: 4}}\n")
    assert load_recipe(path).train.qat_phase.epochs == 4
