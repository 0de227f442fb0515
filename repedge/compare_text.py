"""The differences of two runs for people: one table per subject, for a terminal or as Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from repedge.compare import Difference

SUBJECTS = {"recipe": "Recipe", "dataset": "Data", "model": "Model", "accuracy": "Accuracy", "exactness": "Proof"}
COLUMNS = ("figure", "A", "B", "change")
FINEST = 0.01  # percent; a smaller change is written with a digit that counts
LAYER = re.compile(r"targets\.([^.]+)\.layers\[(.+?)\]\.?(.*)")
TARGET = re.compile(r"targets\.([^.]+)\.?(.*)")
LONE_TARGET = re.compile(r"targets\.[^.]+")
REGIONS = ("flash_bytes", "ram_bytes", "regions", "sections", "stack")


def subject_of(name: str) -> tuple[str, str]:
    """(title of the table, the figure's name in it).

    >>> subject_of("targets.cortex-m4.layers[stage2.0].instructions")
    ('cortex-m4, by layer', 'stage2.0: instructions')
    >>> subject_of("targets.cortex-m4.layers[stage2.0]"), subject_of("targets.cortex-m4")
    (('cortex-m4, by layer', 'stage2.0'), ('Targets', 'cortex-m4'))
    >>> subject_of("targets.cortex-m4.flash_bytes.code"), subject_of("model.macs")
    (('cortex-m4, bytes by region', 'flash_bytes.code'), ('Model', 'macs'))
    """
    if match := LAYER.fullmatch(name):
        return f"{match[1]}, by layer", f"{match[2]}: {match[3]}".removesuffix(": ")
    if LONE_TARGET.fullmatch(name):
        return "Targets", name.partition(".")[2]
    if match := TARGET.fullmatch(name):
        return f"{match[1]}, {'bytes by region' if match[2].startswith(REGIONS) else 'whole inference'}", match[2]
    section, _, rest = name.partition(".")
    root = section.partition("[")[0]
    return SUBJECTS.get(root, root), rest or name


def by_subject(found: Sequence[Difference]) -> dict[str, list[tuple[str, Difference]]]:
    """Title -> the (name, difference) pairs of its table, in the order in which they were found."""
    tables: dict[str, list[tuple[str, Difference]]] = {}
    for item in found:
        title, name = subject_of(item.name)
        tables.setdefault(title, []).append((name, item))
    return tables


def drawn(
    found: Sequence[Difference], failed: Collection[Difference], names: tuple[str, str], threshold: float | None
) -> Group:
    """Tables for a terminal, then the verdict; what breaks the threshold is red and listed again below."""
    tables: list[Table | str] = [escape(f"A: {names[0]}    B: {names[1]}\n")]
    for title, rows in by_subject(found).items():
        table = Table(*COLUMNS, title=title, title_justify="left", title_style="bold")
        for name, item in rows:
            table.add_row(*map(escape, _cells(name, item)), style="red" if item in failed else None)
        tables.append(table)
    tables.append(f"\n{verdict(found, failed, threshold)}")
    tables += [
        escape(f"FAIL  {item.name}: {' → '.join(_cells('', item)[1:3])}  {_cells('', item)[3]}") for item in failed
    ]
    return Group(*tables)


def verdict(found: Sequence[Difference], failed: Collection[Difference], threshold: float | None) -> str:
    """One sentence: how many figures differ, and how many by more than the threshold.

    >>> verdict([], [], 1.0), verdict([None] * 3, [None], 0.5)
    ('No difference.', '3 differences, 1 beyond the threshold of 0.5 %.')
    """
    if not found:
        return "No difference."
    differ = f"{len(found)} difference{'s' if len(found) > 1 else ''}"
    if threshold is None:
        return f"{differ}; --threshold PERCENT makes growth of a cost, or loss of top-1, exit code 1."
    return f"{differ}, {len(failed) or 'none'} beyond the threshold of {threshold:g} %."


def markdown(
    found: Sequence[Difference], failed: Collection[Difference], names: tuple[str, str], threshold: float | None
) -> str:
    """The same as Markdown; what breaks the threshold is bold."""
    lines = [f"# {names[0]} → {names[1]}", "", verdict(found, failed, threshold)]
    for title, rows in by_subject(found).items():
        lines += ["", f"## {title}", "", f"| {' | '.join(COLUMNS)} |", "|---|---:|---:|---:|"]
        for name, item in rows:
            cells = [cell.replace("|", "\\|") for cell in _cells(name, item)]
            lines.append(f"| {' | '.join(f'**{cell}**' if item in failed and cell else cell for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cells(name: str, item: Difference) -> tuple[str, str, str, str]:
    change = "" if item.percent is None else f"{item.percent:{'+.2f' if abs(item.percent) >= FINEST else '+.1g'}} %"
    if item.name.endswith("top1") and item.percent is not None:
        change = f"{item.b - item.a:+.2f} points"
    return name, _text(item.a), _text(item.b), change


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)[:24]
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
