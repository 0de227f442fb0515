"""The runs a report is compared with: those named on the command line, or else the finished ones beside its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.report_schema import FILE_NAME, read_report
from train.errors import ArtefactError

Others = list[tuple[str, dict[str, Any]]]


def named_runs(folders: Sequence[Path], own: Path) -> Others:
    """(folder, report) of each; the run itself may be among them and is left out. `ArtefactError` where one has no report."""
    return [(folder.name, read_report(folder)) for folder in folders if folder.resolve() != own.resolve()]


def runs_beside(own: Path, data_sha256: object) -> tuple[Others, list[str]]:
    """Reports in the folders beside `own` that were made from the same data, and what to say of those that cannot be read."""
    found: Others = []
    notices: list[str] = []
    for folder in sorted(own.resolve().parent.iterdir()):
        if folder.name == own.resolve().name or not (folder / FILE_NAME).is_file():
            continue
        try:
            report = read_report(folder)
        except ArtefactError as error:
            notices.append(f"runs: {folder.name} beside this run is not compared: {str(error).splitlines()[0][:200]}")
            continue
        if report["dataset"]["sha256"] == data_sha256:
            found.append((folder.name, report))
    return found, notices
