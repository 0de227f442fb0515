"""One comparison over all back ends of a report: bytes, RAM, instructions, cycles, logits that differ, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy import report_format as fmt

COLUMNS = (
    ("back end", ""),
    ("file or flash, B", "exact"),
    ("RAM, B", "exact"),
    ("instructions", "exact"),
    ("cycles", "estimated"),
    ("logits that differ", "exact"),
    ("top-1", "measured"),
)


def backend_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row of texts per back end that ran or was compiled, in the order of `COLUMNS`; a dash where it has no figure."""
    targets = {target["backend"]: target for target in report["targets"].values()}
    compared = {**report["exactness"], **report["runtimes"]}
    return [_row(name, targets.get(name, {}), compared.get(name), report["accuracy"].get(name)) for name in
            dict.fromkeys([*compared, *targets])]  # fmt: skip


def _row(
    name: str, target: Mapping[str, Any], compared: Mapping[str, Any] | None, accuracy: Mapping[str, Any] | None
) -> tuple[str, ...]:
    size = (target.get("flash_bytes") or {}).get("total", (compared or {}).get("file_bytes"))
    differing = f"{compared['logits_mismatched']:,} of {compared['logits_compared']:,}" if compared else "not executed"
    return (
        fmt.stage_title(name),
        fmt.count(size),
        fmt.count((target.get("ram_bytes") or {}).get("total")),
        fmt.count(target.get("instructions")),
        fmt.band_middle(target.get("cycles_estimated")),
        differing,
        f"{fmt.percent(accuracy['top1'])} of {accuracy['images']:,}" if accuracy else fmt.MISSING,
    )
