"""The page as a browser sees it: no console message, no request, sorting, nothing wider than a phone, readable in the dark."""

from __future__ import annotations

import copy

import pytest

from deploy.report_html import write_html
from deploy.report_runs import compare_runs
from tests.deploy.browser import visit

SORT = """
const table = document.querySelector("table.sortable"), heads = [...table.tHead.rows[0].cells], orders = {};
heads.forEach((head, column) => {
  head.querySelector("button").click();
  orders[column] = [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value);
});
return orders;
"""
WIDE = """
const limit = document.documentElement.clientWidth;
const inside = (node) => node.closest(".scroll, pre") !== null;
return [...document.querySelectorAll("main *, header *")]
  .filter((node) => node.getBoundingClientRect().right > limit + 1 && !inside(node) && !node.closest(".skip, .hidden"))
  .map((node) => node.tagName + "." + node.getAttribute("class") + " " + node.textContent.trim().slice(0, 40));
"""
CONTRAST = """
const luminance = (color) => {
  const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const back = luminance(getComputedStyle(document.body).backgroundColor);
const ratio = (node) => {
  const fore = luminance(getComputedStyle(node).color);
  return (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05);
};
const nodes = [...document.querySelectorAll("h1, h2, p, td, th, .quiet, .sub, .status, .mark, a")];
return { background: back, smallest: Math.min(...nodes.map(ratio)) };
"""


@pytest.fixture
def page(report, tmp_path):
    other = copy.deepcopy(report)
    other["name"] = "a-run-with-quite-a-long-name"
    other["model"]["weight_bytes"] //= 3
    other["accuracy"]["numpy"]["top1"] -= 2
    report["runs"] = compare_runs(report, [("runs/other", other)], "cortex-m4")
    report["targets"]["cortex-m4"]["sections"] = {".text": {"flash_bytes": 6412, "ram_bytes": 0}}
    write_html(report, tmp_path / "report.html")
    return tmp_path / "report.html"


def test_the_page_sorts_without_a_console_message_or_a_request(page, tmp_path):
    seen = visit(page, tmp_path, SORT)
    assert seen.console == [] and seen.requests == []
    assert isinstance(seen.result, dict)
    numbers = [int(value) for value in seen.result["6"]]  # MACs
    assert numbers == sorted(numbers, reverse=True)
    assert seen.result["1"] == sorted(seen.result["1"])
    assert seen.result["0"] == sorted(seen.result["0"], key=int)


def test_nothing_but_tables_is_wider_than_a_phone(page, tmp_path):
    assert visit(page, tmp_path, WIDE, width=390).result == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_in_light_and_dark(page, tmp_path, dark):
    result = visit(page, tmp_path, CONTRAST, dark=dark).result
    assert isinstance(result, dict)
    assert (result["background"] < 0.1) == dark
    # WCAG 2 AA asks 4.5 of text
    assert result["smallest"] >= 4.5


def test_a_request_would_be_seen(page, tmp_path):
    text = page.read_text()
    policy = text[text.index('<meta http-equiv="Content-Security-Policy"') :].partition("\n")[0]
    page.write_text(text.replace(policy, "").replace("</main>", '<img src="http://192.0.2.1/x.png"></main>'))
    assert visit(page, tmp_path, "return 1;").requests == ["http://192.0.2.1/x.png"]
