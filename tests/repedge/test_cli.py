"""Wrong usage: one clear error on stderr and the exit code that the design promises."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from repedge.cli import build_parser, main

GROUPED = ("flash", "ram", "instructions")  # fit's limits, which stand below a line that explains them


def test_help_shows_the_verbs_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for word in ("run", "train", "convert", "deploy", "report", "targets", "check", "compare", "inspect", "exit codes"):
        assert word in text


def test_every_verb_says_what_it_and_each_of_its_arguments_does():
    verbs = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, verb in verbs.choices.items():
        silent = [action.dest for action in verb._actions if not action.help and not action.choices]
        assert (name, bool(verb.description), [dest for dest in silent if dest not in GROUPED]) == (name, True, [])


def test_an_unknown_verb_is_exit_2():
    with pytest.raises(SystemExit) as stopped:
        main(["fly"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["exprot", "a", "b"], "did you mean export?"),
        (["export", "a", "b", "--as", "zehpyr"], "did you mean zephyr?"),
        (["compare", "a", "b", "--treshold=3"], "did you mean --threshold?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest(arguments, hint, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "missing.yaml"], "no such file"),
        (["inspect", "missing.bin"], "no such file or folder"),
        (["check", "missing"], "no report.json"),
        (["compare", "a", "b"], "no report.json"),
        (
            ["deploy", "recipes/quickstart.yaml", "--tune", "--tune-minutes=-1"],
            "--tune-minutes -1: allowed are minutes",
        ),
    ],
)
def test_a_missing_input_is_exit_2_and_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_targets_can_be_chosen_by_core(capsys):
    assert main(["targets", "--core", "m4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"cortex-m4", "nucleo-l476rg"} <= {target["name"] for target in found}
    assert {target["core"] for target in found} == {"cortex-m4"}


def test_targets_show_memory_and_doubts(capsys):
    assert main(["targets", "--core", "nrf52840"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "nrf52840-dk" in line)
    assert row.split() == ["nrf52840-dk", "m4", "dsp+fpu", "64", "1024", "256", "2?"]


def test_targets_show_each_further_region(capsys):
    assert main(["targets", "alif-e7-devkit"]) == 0
    assert "mram 5632, sram0 4096, sram1 2560" in capsys.readouterr().out


def test_targets_check_a_board_of_ones_own(tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs/boards.md").read_text()
    board = tmp_path / "my-board.yaml"
    board.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert main(["targets", str(board), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["flash"]["size_bytes"]) == ("my-board", 0x40000)
    board.write_text(board.read_text().replace("cortex-m4", "cortex-m40"))
    assert main(["targets", str(board)]) == 2
    assert "did you mean cortex-m4" in capsys.readouterr().err


def test_deploy_before_convert_names_the_command_to_run(tmp_path, capsys):
    assert main(["deploy", "recipes/quickstart.yaml", "--out", str(tmp_path / "run")]) == 2
    assert "not converted yet; run repedge convert" in capsys.readouterr().err


def test_a_core_that_no_target_has_is_exit_2(capsys):
    assert main(["targets", "--core", "m9"]) == 2
    assert "no target's name, core or kind contains it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--device", "no-such"], "--device no-such: not usable here"),
        (["--set", "seed=-1"], "seed: found -1; allowed is at least 0"),
    ],
)
def test_a_wrong_value_leaves_no_folder(tmp_path, capsys, extra, message):
    assert main(["run", "recipes/quickstart.yaml", "--out", str(tmp_path / "out"), *extra]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_misspelt_target_fails_before_any_training(tmp_path, capsys):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\nmodel: {size: xs}\ndata: {name: digits, resize: [32, 32]}\ndeploy: {targets: [cortex-m9]}\n"
    )
    assert main(["run", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "cortex-m9: no such target; did you mean" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train").exists()


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("cortex-m7: {flash_bytes: 1}", "cortex-m7: not among the deployed targets"),
        ("ethos-u55-128: {instructions: 1}", "instructions: no such figure exists for ethos-u55-128"),
    ],
)
def test_a_limit_without_a_figure_fails_before_any_training(tmp_path, capsys, limit, message):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: r\nmodel: {{size: xs}}\nbudget: {{targets: {{{limit}}}}}\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_tool_is_exit_3_with_its_package(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 3
    assert "qemu-system-arm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'tvm'", name="tvm"), "Python package apache-tvm: not installed"),
        (
            ImportError("libz.so.1: cannot open shared object file", name="onnx.onnx_cpp2py_export"),
            "Python package onnx: installed, but does not load: libz.so.1: cannot open shared object file",
        ),
    ],
)
def test_a_python_package_that_cannot_be_imported_is_exit_3_with_the_remedy(
    error, message, tmp_path, monkeypatch, capsys
):
    def run(options):
        raise error

    monkeypatch.setattr("repedge.cli._commands", lambda: {"doctor": run})
    assert main(["doctor"]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}; this step needs it; run `make setup`") and said.count("\n") == 1


@pytest.mark.parametrize("error", [ModuleNotFoundError("no", name="train.gone"), ImportError("cannot import name 'x'")])
def test_a_module_of_our_own_that_is_missing_is_a_bug(error, monkeypatch, capsys):
    def run(options):
        raise error

    monkeypatch.setattr("repedge.cli._commands", lambda: {"doctor": run})
    assert main(["doctor"]) == 3
    assert "this is a bug in repedge" in capsys.readouterr().err


def test_a_folder_of_another_user_is_exit_2_with_the_remedy(tmp_path, monkeypatch, capsys):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)  # root, as in a container, is never refused
    assert main(["run", "recipes/quickstart.yaml", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(r'Permission denied: /.*; user \d+ has no right to it: .* --user "\$\(id -u\):\$\(id -g\)"', error)
