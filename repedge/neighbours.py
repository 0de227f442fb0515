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
    for folder in _folders_beside(own.resolve()):
        try:
            report = read_report(folder)
        except ArtefactError as error:
            notices.append(f"runs: {folder.name} beside this run is not compared: {str(error).splitlines()[0][:200]}")
            continue
        if report["dataset"]["sha256"] == data_sha256:
            found.append((folder.name, report))
    return found, notices


def _folders_beside(own: Path) -> list[Path]:
    """Those with a report. What this user may not look into is none of its runs: a container's `/out` lies beside `/root`."""
    try:
        folders = sorted(own.parent.iterdir())
    except OSError:
        return []
    return [folder for folder in folders if folder.name != own.name and _has_report(folder)]


def _has_report(folder: Path) -> bool:
    try:
        return (folder / FILE_NAME).is_file()
    except OSError:
        return False
