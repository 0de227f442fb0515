from __future__ import annotations

import pytest

from repedge.cli import main
from repedge.recipe import load_recipe


@pytest.mark.parametrize("data", ["digits", "cifar10", "idx", "folder"])
def test_a_written_recipe_is_a_valid_one(tmp_path, data):
    path = tmp_path / "mine.yaml"
    assert main(["init", str(path), "--data", data, "--board", "nucleo-l476rg"]) == 0
    recipe = load_recipe(path)
    assert (recipe.name, recipe.data.name, recipe.deploy.targets) == ("mine", data, ("nucleo-l476rg",))


def test_the_suggested_budget_rests_on_verified_figures_only(tmp_path):
    path = tmp_path / "mine.yaml"
    assert main(["init", str(path), "--board", "nrf52840-dk"]) == 0
    assert "nrf52840-dk: {flash_bytes: 65536, ram_bytes: 32768}" in path.read_text()


def test_any_file_name_gives_a_recipe(tmp_path):
    for name in ("My_Net.yaml", "Schrauben Größe.yaml", "--.yaml"):
        assert main(["init", str(tmp_path / name)]) == 0
        assert load_recipe(tmp_path / name).name in ("my_net", "schrauben-gr-e", "mine")


def test_an_existing_recipe_is_not_overwritten(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert main(["init", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_an_unknown_board_is_answered_with_the_nearest(tmp_path, capsys):
    assert main(["init", str(tmp_path / "r.yaml"), "--board", "nucleo-l476"]) == 2
    assert "did you mean nucleo-l476rg" in capsys.readouterr().err
    assert not (tmp_path / "r.yaml").exists()
