"""A results file of long work: one JSON line per finished cell, appended by many processes, never half read.

Each line has its identity in `cell`. A lock beside the work keeps writers apart; a line that a crash cut short is
dropped by readers and cut off by the next writer.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.artefact import write_text

Line = dict[str, Any]


@dataclass(frozen=True)
class ResultsFile:
    """`path` holds the lines, `lock` is an empty file that all its writers on this machine take turns with."""

    path: Path
    lock: Path

    def lines(self) -> dict[str, Line]:
        """The finished cells by identity."""
        found: dict[str, Line] = {}
        for text in self.path.read_text().splitlines() if self.path.is_file() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            found[line["cell"]] = line
        return found

    def keep(self, line: Line) -> None:
        """Append one finished cell."""
        with self._locked():
            content = self.path.read_bytes() if self.path.is_file() else b""
            if content and not content.endswith(b"\n"):
                os.truncate(self.path, content.rfind(b"\n") + 1)
            with self.path.open("a") as handle:
                handle.write(_text(line))
                handle.flush()
                os.fsync(handle.fileno())

    def change(self, cell: str, facts: Line) -> None:
        """Add facts to the line of a finished cell."""
        with self._locked():
            lines = self.lines()
            lines[cell] |= facts
            write_text(self.path, "".join(_text(line) for line in lines.values()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for file in (self.path, self.lock):
            file.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _text(line: Line) -> str:
    return json.dumps(line, sort_keys=True) + "\n"
