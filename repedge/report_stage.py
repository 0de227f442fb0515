"""The last stage: report.json, report.html and report.md from what the others left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.backends import HOST
from deploy.report_data import RunFacts, build_report
from deploy.report_html import write_html
from deploy.report_schema import write_report
from deploy.report_text import render_markdown
from deploy.result import load_results
from deploy.targets import load_target
from repedge.commit import git_commit
from repedge.doctor import tool_versions
from repedge.neighbours import Others, named_runs, runs_beside
from repedge.run import Run
from repedge.sources import training_facts
from repedge.training_notices import training_notices
from train.artefact import Manifest, read_manifest, write_text
from train.errors import ArtefactError


def report_stage(run: Run, targets: Sequence[str] | None = None, others: Sequence[Path] = ()) -> dict[str, Any]:
    """Assemble report.json, report.html and report.md from the stages' folders, budget included.

    `others` are run folders to compare with; without any, the finished runs of the same data beside this one.
    """
    names = [HOST, *(targets or run.recipe.deploy.targets)]
    missing = [name for name in names if not (run.folder.deploy(name) / "manifest.json").is_file()]
    if missing:
        raise ArtefactError(f"{run.folder.path}: no deploy result for {', '.join(missing)}; run the deploy stage first")
    for folder in (run.folder.convert, *(run.folder.deploy(name) for name in names)):
        read_manifest(folder, verify=True)
    backends = [result for name in names for result in load_results(run.folder.deploy(name))]
    recipe, training = run.recipe, training_facts(run)
    compared, notices = _compared_runs(run, others, training)
    report = build_report(
        train=training,
        convert=read_manifest(run.folder.convert),
        convert_folder=run.folder.convert,
        backends=backends,
        budget=recipe.budget,
        facts=RunFacts(
            name=recipe.name,
            created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            recipe_sha256=recipe.sha256(),
            git_commit=git_commit(),
            seed=recipe.seed,
            recipe_yaml=recipe.to_yaml(),
            tool_versions=tool_versions(),
            targets=tuple(load_target(name) for name in names if name != HOST),
        ),
        others=compared,
    )
    report["notices"] += [*training_notices(training.metrics), *notices]
    write_report(report, run.folder.path / "report.json")
    write_html(report, run.folder.path / "report.html")
    write_text(run.folder.path / "report.md", render_markdown(report))
    return report


def _compared_runs(run: Run, named: Sequence[Path], training: Manifest) -> tuple[Others, list[str]]:
    if named:
        return named_runs(named, run.folder.path), []
    return runs_beside(run.folder.path, training.metrics.get("dataset", {}).get("sha256"))
