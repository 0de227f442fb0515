from __future__ import annotations

import os
import pty
import select
import subprocess
import time

import pytest

from repedge.cli import main
from tests.need import need

LINES = [
    ("repedge ex", "export"),
    ("repedge export a b --as zep", "zephyr"),
    ("repedge export a b --core m5", "m55"),
    ("repedge init --board nucleo-l47", "nucleo-l476rg"),
    ("repedge compare a b --thr", "--threshold"),
    ("repedge targets nucleo-g07", "nucleo-g071rb"),
    ("repedge fit a --prefer an", "any"),
    ("repedge zoo ge", "get"),
    ("repedge zoo get cifar10-xs-w3", "cifar10-xs-w3a8"),
    ("repedge completion fi", "fish"),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_bash_completes_verbs_options_and_their_values(capsys, line, expected):
    need("bash")
    assert main(["completion", "bash"]) == 0
    words = line.split()
    script = capsys.readouterr().out + (
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _repedge; echo ${{COMPREPLY[@]}}\n"
    )
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected]


def test_zsh_completes_what_is_typed(tmp_path, capsys):
    need("zsh")
    assert main(["completion", "zsh"]) == 0
    (tmp_path / "repedge.zsh").write_text(capsys.readouterr().out)
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb"})
    try:
        start = f"autoload -Uz compinit && compinit -u -D; source {tmp_path}/repedge.zsh; print re''ady"
        typed(terminal, start + "\n", until="ready")
        for line, expected in LINES:
            # ^U empties the line for the next one
            typed(terminal, f"\x15{line}\t", until=expected[len(line.split()[-1]) :])
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def test_zsh_needs_no_set_up_of_its_own(tmp_path, capsys):
    need("zsh")
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out + "print ${+functions[compdef]} ${+functions[_repedge]}\n"
    home = os.environ | {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    done = subprocess.run(["zsh", "-f"], input=script, capture_output=True, text=True, check=True, env=home)
    assert (done.stdout, done.stderr) == ("1 1\n", "")


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_fish_completes_verbs_options_and_their_values(tmp_path, capsys, line, expected):
    need("fish")
    assert main(["completion", "fish"]) == 0
    script = capsys.readouterr().out + f"complete -C '{line}'\n"
    home = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(["fish", "--no-config"], input=script, capture_output=True, text=True, check=True, env=home)
    assert [found.split("\t")[0] for found in done.stdout.splitlines()] == [expected]


def typed(terminal: int, text: str, *, until: str) -> None:
    """Type, and read what the terminal answers until it holds the text beyond what was typed."""
    os.write(terminal, text.encode())
    end, answer = time.monotonic() + 30, ""
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            answer += os.read(terminal, 4096).decode(errors="replace")
        echo = text.rstrip("\t\n").lstrip("\x15")
        if until in answer.partition(echo)[2] or (until and f"{echo}{until}" in answer):
            return
    raise AssertionError(f"{text!r}: no {until!r} in {answer!r}")
