"""One invocation of the accuracy benchmark, and its results file: one JSON line per finished cell, for many processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy_grid import Grid
from train.artefact import write_text
from train.dataset import Dataset

Line = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One invocation."""

    grid: Grid
    results: Path
    work: Path
    dataset: Dataset
    data_dir: Path | None = None
    device: str = "cpu"

    def lines(self) -> dict[str, Line]:
        """The finished cells by key; a last line cut short by a crash is dropped."""
        if not self.results.is_file():
            return {}
        found = {}
        for text in self.results.read_text().splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            found[line["cell"]] = line
        return found

    def keep(self, line: Line) -> None:
        """Append one finished cell; other processes may do so at the same time."""
        with self._locked():
            if self.results.is_file():
                content = self.results.read_bytes()
                if content and not content.endswith(b"\n"):  # a line that a crash cut short
                    os.truncate(self.results, content.rfind(b"\n") + 1)
            with self.results.open("a") as handle:
                handle.write(json.dumps(line, sort_keys=True) + "\n")
                handle.flush()
                os.fsync(handle.fileno())

    def change(self, cell: str, facts: Line) -> None:
        """Add facts to the line of a finished cell."""
        with self._locked():
            lines = self.lines()
            lines[cell] |= facts
            write_text(self.results, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines.values()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the results file, among all processes of this machine."""
        self.results.parent.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / "results.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
