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
# of each text its own colour on what lies under it: backgrounds of all ancestors, the upper ones over the lower ones
CONTRAST = """
const rgba = (color) => {
  const parts = color.match(/[\\d.]+/g).map(Number), unit = color.startsWith("color(") ? 255 : 1;
  return [...parts.slice(0, 3).map((part) => part * unit), parts[3] ?? 1];
};
const over = (top, under) => top.slice(0, 3).map((part, k) => part * top[3] + under[k] * (1 - top[3]));
const luminance = (color) => {
  const parts = color.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const under = (node) => {
  const own = node ? rgba(getComputedStyle(node).backgroundColor) : [255, 255, 255, 1];
  return own[3] === 1 ? own.slice(0, 3) : over(own, under(node.parentElement));
};
const ratio = (node) => {
  const back = under(node), fore = luminance(over(rgba(getComputedStyle(node).color), back)), light = luminance(back);
  return (Math.max(fore, light) + 0.05) / (Math.min(fore, light) + 0.05);
};
const written = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
const nodes = [...document.querySelectorAll("body *:not(script):not(style)")].filter(written);
const worst = nodes.reduce((one, other) => ratio(one) <= ratio(other) ? one : other);
return { background: luminance(under(document.body)), smallest: ratio(worst), where: worst.outerHTML.slice(0, 120), texts: nodes.length };
"""
READABLE_ALOUD = """
const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((head) => Number(head.tagName[1]));
const named = (node) => node.getAttribute("aria-label") || node.hasAttribute("aria-hidden");
return {
  lang: document.documentElement.lang,
  skipped: levels.filter((level, k) => level > (levels[k - 1] ?? 0) + 1).length,
  titles: levels.filter((level) => level === 1).length,
  drawings: [...document.querySelectorAll("svg")].filter((node) => !named(node)).length,
  images: [...document.querySelectorAll("img:not([alt])")].length,
  tables: [...document.querySelectorAll("table")].filter((node) => !node.caption || !node.querySelector("th[scope]")).length,
  links: [...document.querySelectorAll('a[href^="#"]')].filter((link) => !document.querySelector(link.hash)).length,
};
"""
FOCUS = """
const nodes = [...document.querySelectorAll("a, button, summary, [tabindex]")];
return nodes.filter((node) => {
  node.focus({ focusVisible: true });
  return document.activeElement !== node || (node.className !== "skip" && getComputedStyle(node).outlineStyle === "none");
}).length;
"""


@pytest.fixture
def page(report, tmp_path):
    other = copy.deepcopy(report)
    other["name"] = "a-run-with-quite-a-long-name"
    other["model"]["weight_bytes"] //= 3
    other["accuracy"]["numpy"]["top1"] -= 2
    report["runs"] = compare_runs(report, [("runs/other", other)], "cortex-m4")
    # half of a class taken for another: the darkest cells
    row = report["confusion"]["matrix"][0]
    row[0], row[1] = sum(row) // 2, sum(row) - sum(row) // 2
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
    assert result["texts"] > 200
    # WCAG 2 AA asks 4.5 of text
    assert result["smallest"] >= 4.5, result


def test_the_page_can_be_read_aloud_and_used_by_keyboard(page, tmp_path):
    found = visit(page, tmp_path, READABLE_ALOUD).result
    assert found == {"lang": "en", "skipped": 0, "titles": 1, "drawings": 0, "images": 0, "tables": 0, "links": 0}
    assert visit(page, tmp_path, FOCUS).result == 0


def test_a_request_would_be_seen(page, tmp_path):
    text = page.read_text()
    policy = text[text.index('<meta http-equiv="Content-Security-Policy"') :].partition("\n")[0]
    page.write_text(text.replace(policy, "").replace("</main>", '<img src="http://192.0.2.1/x.png"></main>'))
    assert visit(page, tmp_path, "return 1;").requests == ["http://192.0.2.1/x.png"]
