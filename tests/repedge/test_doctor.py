"""`repedge doctor`: every tool with its version, and a tool that is there but does not work is not taken for a good one."""

from __future__ import annotations

import json
import re

from deploy.tool import DEBIAN_PACKAGES
from repedge.cli import main
from repedge.doctor import C_LIBRARIES, PROGRAMS, examine
from tests.need import need


def test_every_program_that_deploy_calls_and_every_package_it_names_is_examined():
    names = {program for program, _, _ in PROGRAMS}
    packages = {package for _, package, _ in PROGRAMS} | {library[4] for library in C_LIBRARIES}
    assert set(DEBIAN_PACKAGES) <= names
    assert {package for entry in DEBIAN_PACKAGES.values() for package in entry.split()} <= packages


def test_each_has_its_version(capsys):
    need(*(program for program, _, _ in PROGRAMS))
    assert main(["doctor", "--json"]) == 0
    tools = json.loads(capsys.readouterr().out)
    assert [tool["name"] for tool in tools if not re.match(r"\d+\.\d+", tool["version"])] == []


def test_names_are_never_cut(capsys):
    main(["doctor"])
    table = capsys.readouterr().out
    assert [tool.name for tool in examine() if tool.name not in table or tool.package not in table] == []


def test_a_program_that_does_not_start_is_broken_not_present(tmp_path, monkeypatch, capsys):
    program = tmp_path / "cmake"
    program.write_text("#!/bin/sh\necho 'cmake: libuv.so.1: cannot open shared object file' >&2\nexit 127\n")
    program.chmod(0o755)
    (tmp_path / "make").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "make").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "cmake: exit status 127: cmake: libuv.so.1: cannot open shared object file" in out
    assert "make: does not start: [Errno 8] Exec format error" in out


def test_a_compiler_without_its_library_is_told(tmp_path, monkeypatch, capsys):
    program = tmp_path / "arm-none-eabi-gcc"
    program.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo gcc 12.2.1 && exit\necho 'newlib.h: No such file' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert main(["doctor", "--json"]) == 3
    tools = {tool["name"]: tool for tool in json.loads(capsys.readouterr().out)}
    assert tools["arm-none-eabi-gcc"]["version"] == "12.2.1"
    assert (tools["newlib"]["version"], tools["newlib"]["fault"]) == (None, "exit status 1: newlib.h: No such file")
