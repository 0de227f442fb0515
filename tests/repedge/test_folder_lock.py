"""Two commands in one folder: the second is told; what it does not share it does not touch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repedge.cli import main
from repedge.folder_lock import lock_folder, locked_folder, unlock_folders
from train.errors import ConfigError

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from repedge.folder_lock import lock_folder
lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held_elsewhere(tmp_path):
    """A folder that another process holds."""
    folder = tmp_path / "run"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield folder
        assert other.stdin is not None
        other.stdin.close()


def test_a_folder_that_another_process_holds_is_refused(held_elsewhere):
    with pytest.raises(
        ConfigError, match="another repedge command is working in this folder, allowed is one at a time"
    ):
        lock_folder(held_elsewhere)


def test_a_second_run_in_one_folder_is_exit_2_and_writes_nothing(held_elsewhere, capsys):
    assert main(["train", str(ROOT / "recipes/quickstart.yaml"), "--out", str(held_elsewhere), "--quiet"]) == 2
    assert "another repedge command is working in this folder" in capsys.readouterr().err
    assert list(held_elsewhere.iterdir()) == []


def test_a_process_shares_its_locks_and_lets_go_of_them(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    lock_folder(tmp_path)
    with locked_folder(tmp_path):
        lock_folder(tmp_path)
    unlock_folders()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
