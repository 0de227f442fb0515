from __future__ import annotations

import io

from deploy.report_format import band_range, percent, size
from deploy.report_text import print_summary, render_markdown, render_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_summary_has_the_verdict_first_and_no_control_codes(report):
    stream = io.StringIO()
    print_summary(report, stream)
    text = stream.getvalue()
    assert text.startswith("PASS  quickstart: Proven bit for bit; all 8 limits met\n")
    assert "\x1b" not in text and text == render_text(report)


def test_summary_shows_proof_targets_and_budget(report):
    text = render_text(report)
    target = report["targets"]["cortex-m4"]
    for figure in (target["flash_bytes"]["total"], target["ram_bytes"]["total"], target["instructions"]):
        assert f"{figure:,}" in text
    assert all(limit["name"] in text for limit in report["budget"]["limits"])
    assert "0 of 3,600" in text and "compiled and decoded, not executed" in text


def test_terminal_gets_drawn_tables_with_the_same_facts(report):
    stream = Terminal()
    print_summary(report, stream)
    assert "┃" in stream.getvalue() and "97.22 %" in stream.getvalue()


def test_broken_limit_fails_with_the_worst_layer(report):
    limit = report["budget"]["limits"][2]
    limit |= {"passed": False, "limit": limit["value"] - 1}
    report["budget"]["passed"] = False
    text = render_text(report)
    assert text.startswith("FAIL") and "1 B over" in text
    assert f"worst layer: {limit['worst_layer']}" in text


def test_clamped_logits_are_cautioned(report):
    report["exactness"]["host_c"]["saturated_share"] = 0.7
    assert "most logits are clamped" in render_text(report)


def test_markdown_escapes_bars_and_lists_every_table(report):
    report["budget"]["limits"][0]["name"] = "a|b"
    text = render_markdown(report)
    assert "a\\|b" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Accuracy", "## Proof", "## Targets", "## All back ends", "## Budget", "## Other runtimes",
    ]  # fmt: skip


def test_markdown_folds_the_layers_away(report):
    text = render_markdown(report)
    folded = text[text.index("<details>") : text.index("</details>")]
    for row in report["layers"]:
        assert f"| {row['name']} |" in folded and f"{row['flash_bytes']:,}" in folded


def test_a_share_that_is_not_zero_never_reads_as_zero():
    assert percent(0.0001) == "< 0.01 %" and percent(0.0) == "0.00 %"


def test_sizes_read_in_binary_units():
    assert [size(value) for value in (900, 1024, 15938, 1 << 20)] == ["900 B", "1 KiB", "15.6 KiB", "1 MiB"]


def test_estimate_without_a_band_says_so():
    assert band_range({"low": 3, "mid": 3, "high": 3}) == "no band given" and band_range(None) == "–"
