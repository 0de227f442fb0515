"""One invocation of the accuracy benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy_grid import Grid
from repedge.results_file import Line, ResultsFile
from train.dataset import Dataset


@dataclass(frozen=True)
class Bench:
    """One invocation."""

    grid: Grid
    results: Path
    work: Path
    dataset: Dataset
    data_dir: Path | None = None
    device: str = "cpu"

    @property
    def _file(self) -> ResultsFile:
        return ResultsFile(self.results, self.work / "results.lock")

    def lines(self) -> dict[str, Line]:
        """The finished cells by key."""
        return self._file.lines()

    def keep(self, line: Line) -> None:
        """Append one finished cell; other processes may do so at the same time."""
        self._file.keep(line)

    def change(self, cell: str, facts: Line) -> None:
        """Add facts to the line of a finished cell."""
        self._file.change(cell, facts)
