"""The report in the terminal and as Markdown: the same facts as report.json in a few tables.

A terminal gets drawn tables, a pipe plain aligned lines; both come from `summary_tables`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from deploy import report_backends as backends
from deploy import report_format as fmt
from deploy import report_view as view

LEGEND = "  ".join(f"{mark} {kind}" for kind, mark in fmt.MARKS.items())
EXACT, MEASURED, ESTIMATED = (fmt.MARKS[kind] for kind in ("exact", "measured", "estimated"))


@dataclass(frozen=True)
class TextTable:
    """A table of texts; `numeric` columns (by index) are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]


def print_summary(report: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print the summary: drawn tables when `stream` (default stdout) is a terminal, else plain lines."""
    stream = stream or sys.stdout
    if not stream.isatty():
        stream.write(render_text(report))
        return
    console = Console(file=stream)
    verdict = view.verdict(report)
    console.print(Text(_verdict_line(report), style="bold green" if verdict.passed else "bold red"))
    for detail in verdict.details:
        console.print(Text(f"  {detail}"))
    for table in summary_tables(report):
        console.print(_drawn(table))
    for notice in report["notices"]:
        console.print(Text(f"notice: {notice}"))
    console.print(Text(LEGEND, style="dim"))


def render_text(report: Mapping[str, Any]) -> str:
    """The summary as plain text, columns aligned by spaces."""
    lines = [_verdict_line(report), *(f"  {detail}" for detail in view.verdict(report).details)]
    for table in summary_tables(report):
        lines += ["", table.title, *_aligned(table)]
    lines += ["", *(f"notice: {notice}" for notice in report["notices"]), LEGEND]
    return "\n".join(lines) + "\n"


def render_markdown(report: Mapping[str, Any]) -> str:
    """The summary as Markdown, for a pull request or a README; the layers are folded away."""
    lines = [f"# {report['name']}", "", f"**{_verdict_line(report)}**", ""]
    lines += [f"- {detail}" for detail in view.verdict(report).details]
    for table in summary_tables(report):
        rule = "|".join("---:" if number in table.numeric else "---" for number in range(len(table.columns)))
        lines += ["", f"## {table.title}", "", _markdown_row(table.columns), f"|{rule}|"]
        lines += [_markdown_row(row) for row in table.rows]
    lines += ["", *_markdown_layers(report), "", *(f"- {notice}" for notice in report["notices"]), "", LEGEND]
    return "\n".join(lines) + "\n"


def _markdown_layers(report: Mapping[str, Any]) -> list[str]:
    """A folded table of the layers: bits, bytes, instructions on each target that counts them."""
    counted = {
        name: {row["name"]: row.get("instructions") for row in target["layers"]}
        for name, target in report["targets"].items()
        if any(row.get("instructions") is not None for row in target["layers"])
    }
    columns = (
        "layer",
        "bits",
        "entries",
        "MACs",
        "flash, B",
        "SNR, dB",
        *(f"instructions, {name}" for name in counted),
    )
    lines = [
        "<details><summary>Layers</summary>", "", _markdown_row(columns), f"|---|{'---:|' * (len(columns) - 1)}"
    ]  # fmt: skip
    for row in report["layers"]:
        cells = [row["bit_width"], row["codebook_entries"], row["macs"], row["flash_bytes"]]
        snr = fmt.MISSING if row["snr_db"] is None else f"{row['snr_db']:.1f}"
        figures = [fmt.count(layers.get(row["name"])) for layers in counted.values()]
        lines.append(_markdown_row((row["name"], *map(fmt.count, cells), snr, *figures)))
    return [*lines, "", "</details>"]


def summary_tables(report: Mapping[str, Any]) -> list[TextTable]:
    """Accuracy, proof, targets, all back ends, budget and foreign runtimes; a table without rows is left out."""
    tables = [
        _accuracy(report),
        _proof(report),
        _targets(report),
        _backends(report),
        _budget(report),
        _runtimes(report),
    ]
    return [table for table in tables if table.rows]


def _verdict_line(report: Mapping[str, Any]) -> str:
    verdict = view.verdict(report)
    return f"{'PASS' if verdict.passed else 'FAIL'}  {report['name']}: {verdict.title}"


def _accuracy(report: Mapping[str, Any]) -> TextTable:
    rows = tuple(
        (
            fmt.stage_title(name),
            fmt.percent(entry["top1"]),
            f"{entry['wilson_low']:.1f} – {entry['wilson_high']:.1f} %",
            f"{entry['images']:,}",
        )
        for name, entry in report["accuracy"].items()
    )
    columns = ("stage", f"top-1 {MEASURED}", "95 % interval", "images")
    return TextTable("Accuracy", columns, rows, frozenset({1, 2, 3}))


def _proof(report: Mapping[str, Any]) -> TextTable:
    rows = tuple(
        (
            row["title"],
            "equal" if row["equal"] else "DIFFERS",
            fmt.count(row["images"]),
            f"{row['logits_mismatched']:,} of {row['logits_compared']:,}",
            fmt.percent(100 * row["saturated_share"], 1),
            row["caution"],
        )
        for row in view.proof_rows(report)
    )
    columns = ("back end", f"against numpy {EXACT}", "images", "logits that differ", "saturated", "caution")
    return _without_empty_last(TextTable("Proof", columns, rows, frozenset({2, 3, 4})))


def _runtimes(report: Mapping[str, Any]) -> TextTable:
    rows = tuple(
        (row["title"], f"{row['images']:,}", fmt.percent(row["mismatch_share"]), str(row["max_difference"]))
        for row in view.proof_rows(report, "runtimes")
    )
    columns = ("runtime", "images", f"logits that differ {MEASURED}", "largest difference")
    return TextTable("Other runtimes", columns, rows, frozenset({1, 2, 3}))


def _targets(report: Mapping[str, Any]) -> TextTable:
    rows = []
    for name, target in report["targets"].items():
        latency = target["latency_ms_estimated"]
        rows.append(
            (
                name,
                fmt.count(target["flash_bytes"]["total"]) if target["flash_bytes"] else fmt.MISSING,
                fmt.count(target["ram_bytes"]["total"]) if target["ram_bytes"] else fmt.MISSING,
                fmt.count(target["instructions"]),
                fmt.band_middle(target["cycles_estimated"]),
                fmt.band_middle(latency),
                fmt.band_range(latency),
                view.executed(target),
            )
        )
    columns = (
        "target", f"flash, B {EXACT}", f"RAM, B {EXACT}", f"instructions {EXACT}", f"cycles {ESTIMATED}",
        f"ms {ESTIMATED}", "band, ms", "how",
    )  # fmt: skip
    return TextTable("Targets", columns, tuple(rows), frozenset(range(1, 7)))


def _backends(report: Mapping[str, Any]) -> TextTable:
    columns = tuple(f"{title} {fmt.MARKS[kind]}" if kind else title for title, kind in backends.COLUMNS)
    return TextTable("All back ends", columns, tuple(backends.backend_rows(report)), frozenset(range(1, len(columns))))


def _budget(report: Mapping[str, Any]) -> TextTable:
    rows = tuple(
        (
            row["name"],
            "met" if row["passed"] else "BROKEN",
            f"{row['value']} {fmt.MARKS[row['kind']]}",
            row["limit"],
            row["used"],
            row["worst_layer"] or fmt.MISSING,
        )
        for row in view.budget_rows(report)
    )
    columns = ("limit", "result", "value", "allowed", "used", "largest layer")
    return TextTable("Budget", columns, rows, frozenset({2, 3, 4}))


def _without_empty_last(table: TextTable) -> TextTable:
    """The table without its last column when no row says anything there."""
    if any(row[-1] for row in table.rows):
        return table
    return TextTable(table.title, table.columns[:-1], tuple(row[:-1] for row in table.rows), table.numeric)


def _aligned(table: TextTable) -> list[str]:
    lines = [table.columns, *table.rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(table.columns))]
    return [
        "  " + "  ".join(
            text.rjust(width) if number in table.numeric else text.ljust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]  # fmt: skip


def _drawn(table: TextTable) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left", title_style="bold", header_style="bold")
    for number, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="right" if number in table.numeric else "left")
    for row in table.rows:
        drawn.add_row(*(Text(text, style=_style(text)) for text in row))
    return drawn


def _style(text: str) -> str:
    return {"met": "green", "equal": "green", "BROKEN": "bold red", "DIFFERS": "bold red"}.get(text, "")


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
