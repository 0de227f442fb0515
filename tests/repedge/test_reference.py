from __future__ import annotations

import re
from pathlib import Path

import pytest

from repedge.reference import reference_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md", DOCS.parent / "ARCHITECTURE.md"]


def test_the_reference_is_what_the_code_would_write_now():
    assert (DOCS / "reference.md").read_text() == reference_page(), "run make docs"


def test_the_reference_names_every_section_and_verb():
    page = reference_page()
    for heading in ("### repedge export", "### quantize.weights", "### kind: cortex_m", "### budget.accuracy"):
        assert f"\n{heading}\n" in page
    assert "| `--core NAME` |" in page and "`BudgetExceeded` | 1 |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
