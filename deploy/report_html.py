"""report.html: one self-contained page, drawn from report.json alone; it loads nothing, so it can be mailed or archived."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deploy import report_charts as charts
from deploy import report_format as fmt
from deploy import report_view as view
from deploy.report_backends import COLUMNS, backend_rows
from deploy.report_kernels import kernel_views
from deploy.report_runs import runs_view
from deploy.report_schema import validate_report
from train.artefact import write_text

TEMPLATES = Path(__file__).parent / "report"
FILE_NAME = "report.html"
FLASH_PARTS = ("code", "weights", "other")
RAM_PARTS = ("arena", "stack", "static")


def write_html(report: Mapping[str, Any], path: Path) -> None:
    """Write the page of a valid report; the file is whole or not there."""
    validate_report(report)
    write_text(path, render_html(report))


def render_html(report: Mapping[str, Any]) -> str:
    """The page as text; equal reports give equal pages."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["fmt"] = fmt
    environment.globals["view"] = view
    return environment.get_template("page.html.j2").render(**_context(report))


def _context(report: Mapping[str, Any]) -> dict[str, Any]:
    targets = report["targets"]
    layers = {layer["name"]: layer for layer in report["layers"]}
    return {
        "report": report,
        "style": Markup((TEMPLATES / "style.css").read_text()),  # our own files, not data
        "script": Markup((TEMPLATES / "sort.js").read_text()),
        "verdict": view.verdict(report),
        "figures": view.headline(report),
        "budget": view.budget_rows(report),
        "proof_sentence": view.proof_sentence(report),
        "proof": view.proof_rows(report),
        "backends": backend_rows(report),
        "backend_columns": COLUMNS,
        "runtimes": view.proof_rows(report, "runtimes"),
        "accuracy": charts.accuracy_chart(report["accuracy"]),
        "flash": charts.stacked_rows({name: target["flash_bytes"] for name, target in targets.items()}, FLASH_PARTS),
        "ram": charts.stacked_rows({name: target["ram_bytes"] for name, target in targets.items()}, RAM_PARTS),
        "layers": charts.layer_table(report["layers"], targets),
        "kernels": kernel_views(targets),
        "timeline": charts.timeline_rows(report["memory_timeline"]),
        "histograms": [
            charts.histogram_chart(histogram, layers[histogram["name"]]) for histogram in report["histograms"]
        ],
        "histogram_size": (charts.WIDTH, charts.HEIGHT),
        "confusion": charts.confusion_view(report["confusion"]),
        "runs": runs_view(report["runs"]) if len(report.get("runs", {}).get("runs", ())) > 1 else None,
    }
