"""Signals and a closed stdout: the end is told, the exit status is that of other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from repedge import cli
from repedge.interrupt import Terminated, termination_as_interrupt
from repedge.stages import fresh_folder
from train.errors import ToolFailed

ROOT = Path(__file__).parents[2]


def ended_by(number):
    """A command in the midst of which a signal arrives."""

    def command(options):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did not arrive")

    return command


FORMER = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)  # 128 + the signal's number
def test_a_signal_is_told_with_what_to_do(monkeypatch, capsys, number, status):
    monkeypatch.setattr(cli, "_commands", lambda: {"train": ended_by(number), "export": ended_by(number)})
    signal.signal(number, FORMER[number])  # under nohup, which tests may run under, a hang-up is ignored
    assert cli.main(["train", "any.yaml"]) == status
    assert "the same command with --resume goes on" in capsys.readouterr().err
    assert cli.main(["export", "run", "out", "--as", "cmake"]) == status
    assert "the same command goes on" in capsys.readouterr().err


def test_a_terminated_stage_leaves_nothing_half_written(tmp_path):
    def work():
        with termination_as_interrupt(), fresh_folder(tmp_path / "stage") as partial:
            (partial / "half.bin").write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Terminated):
        work()
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_log_where_it_lies_afterwards(tmp_path):
    def work():
        with fresh_folder(tmp_path / "stage") as partial:
            (partial / "tool.log").write_text("no space left")
            raise ToolFailed(f"tool: ended with status 1; see {partial / 'tool.log'}")

    with pytest.raises(ToolFailed, match=f"see {tmp_path}/stage.failed-logs/tool.log"):
        work()
    assert (tmp_path / "stage.failed-logs/tool.log").read_text() == "no space left"


def test_handlers_are_given_back():
    former = signal.getsignal(signal.SIGTERM)
    with termination_as_interrupt():
        assert signal.getsignal(signal.SIGTERM) != former
    assert signal.getsignal(signal.SIGTERM) == former


def test_an_ignored_hangup_stays_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination_as_interrupt():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def repedge(*arguments, stdout):
    return subprocess.run(
        [sys.executable, "-m", "repedge", *arguments], cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def test_a_reader_that_goes_away_is_no_error_message():
    reader, writer = os.pipe()
    os.close(reader)
    ended = repedge("targets", "--json", stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_error():
    with Path("/dev/full").open("w") as full:
        ended = repedge("targets", stdout=full)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: No space left on device; free space on that disk, or give a folder on another, then run again"
    ]


def test_an_interrupt_that_a_native_module_swallowed_is_still_one(monkeypatch, capsys):
    def command(options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("initialization failed") from interrupt

    monkeypatch.setattr(cli, "_commands", lambda: {"convert": command})
    assert cli.main(["convert", "any.yaml"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_training_that_kept_no_epoch_is_not_in_the_way(tmp_path, capsys):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "name: tiny\nmodel: {widths: [4], depths: [1], strides: [2]}\n"
        "train: {threads: 1, float_phase: {epochs: 1}, qat_phase: {epochs: 0}}\n"
    )
    train = ["train", str(recipe), "--out", str(tmp_path / "run"), "--quiet"]
    assert cli.main([*train, "--set", "quantize.weights.layers={stage9: 4}"]) == 2
    assert "no layer stage9" in capsys.readouterr().err
    assert cli.main(train) == 0
