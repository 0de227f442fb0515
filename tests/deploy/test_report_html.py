from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from deploy.report_charts import timeline_rows
from deploy.report_html import render_html, write_html
from train.errors import ArtefactError

VOID = {"img", "meta", "link", "br", "line", "path", "rect", "circle"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and fails at a tag that closes what is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


@pytest.fixture
def page(report) -> Page:
    return Page(render_html(report))


def test_every_tag_is_closed_and_every_id_is_used_once(page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= set(ids)


def test_page_loads_nothing_from_anywhere(report, page):
    html = render_html(report)
    loading = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    targets = [value for _, attributes in page.tags for key, value in attributes.items() if key in loading]
    assert all(value.startswith(("#", "data:")) for value in targets)
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest|<iframe", html)
    assert "default-src 'none'" in html


def test_page_has_landmarks_captions_and_names_for_pictures(page):
    assert [page.count(tag) for tag in ("header", "nav", "main", "footer", "h1")] == [1, 1, 1, 1, 1]
    assert page.count("caption") == page.count("table")
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])


def test_page_shows_every_layer_with_its_figures(page, report):
    for row in report["layers"]:
        assert row["name"] in page.text
        for key in ("macs", "flash_bytes", "ram_bytes"):
            assert f"{row[key]:,}" in page.text
    for name in ("cortex-m4", "cortex-a53"):
        for row in report["targets"][name]["layers"]:
            assert f"{row['instructions']:,}" in page.text


def test_page_shows_every_target_region(page, report):
    for name, target in report["targets"].items():
        assert name in page.text
        for region in (target["flash_bytes"], target["ram_bytes"]):
            assert f"{region['total']:,}" in page.text
            assert all(f"{part} {value:,}" in page.text for part, value in region.items() if part != "total")


def test_page_shows_every_stage_proof_and_limit(page, report):
    for entry in report["accuracy"].values():
        assert f"{entry['top1']:.2f} %" in page.text
        assert f"{entry['wilson_low']:.1f} – {entry['wilson_high']:.1f} %" in page.text
    for name in [*report["exactness"], *report["runtimes"]]:
        assert name in page.text
    for limit in report["budget"]["limits"]:
        assert limit["name"] in page.text


def test_page_shows_provenance(page, report):
    for value in (report["git_commit"], report["recipe_sha256"], report["dataset"]["sha256"], "qemu-system-arm 7.2.15"):
        assert value in page.text
    assert all(digest in page.text for digest in report["artefacts"].values())


def test_each_class_of_number_is_explained_and_estimates_are_marked(page):
    assert all(word in page.text for word in ("exact", "measured", "estimated"))
    marks = [attributes["class"] for tag, attributes in page.tags if tag == "abbr"]
    assert {"mark exact", "mark measured", "mark estimated"} == set(marks)


def test_outlier_is_marked_in_its_histogram(page):
    assert "1 beyond 4σ" in page.text
    assert sum(attributes.get("class") == "outlier" for _, attributes in page.tags) >= 1


def test_confusions_are_shown_with_test_images_that_have_a_text(page, report):
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    confused = [image["png"] for row in report["confusion"]["samples"] for image in row["images"]]
    assert confused and {picture["src"] for picture in pictures} >= set(confused)
    assert all("alt" in picture for picture in pictures)
    assert sum(picture["alt"].startswith("test image") for picture in pictures) == len(confused)


def test_output_over_its_input_is_drawn_there_and_no_bar_is_longer_than_its_total(report):
    layers = report["memory_timeline"]["layers"]
    report["memory_timeline"]["arena_bytes"] = 9000
    layers[1] |= {"input_bytes": 2000, "output_bytes": 2000, "scratch_bytes": 7000, "total_bytes": 9000}
    rows = timeline_rows(report["memory_timeline"])["rows"]
    assert rows[1]["shared_bytes"] == 2000
    ends = [max(segment["start"] + segment["width"] for segment in row["segments"]) for row in rows]
    assert ends[1] == pytest.approx(100) and max(ends) <= 100.001
    assert "the output over the input" in render_html(report)


def test_a_net_that_came_quantized_is_not_shown_as_quantization_without_loss(report):
    sentence = "This run got its net quantized"
    assert sentence not in render_html(report)
    for layer in report["layers"]:
        layer["snr_db"] = None
    assert sentence in render_html(report)


def test_the_budget_stands_right_below_the_verdict(report):
    page = render_html(report)
    assert page.index('class="verdict') < page.index('<table class="budget">') < page.index('class="tiles"')


def test_weights_before_the_merge_are_outlined_where_they_are_known(report):
    assert Page(render_html(report)).count("path") and 'class="branches"' not in render_html(report)
    report["histograms"][0]["branch_counts"] = report["histograms"][0]["merged_counts"]
    assert render_html(report).count('class="branches"') == 1


def test_sections_of_a_linked_image_are_listed(report):
    report["targets"]["cortex-m4"]["sections"] = {".rodata": {"flash_bytes": 4321, "ram_bytes": 0}}
    text = Page(render_html(report)).text
    assert "Sections of cortex-m4" in text and "4,321" in text


def test_npu_is_shown_as_not_executed(page):
    assert "compiled and decoded, not executed" in page.text


def test_npu_layers_stand_beside_uniform_int8_weights(report):
    page = render_html(report)
    table = page[page.index("codebooks against the same net with uniform int8 weights") :].split("</table>")[0]
    assert table.count("<td") == 8 * (table.count("<tr>") - 1)
    assert all(
        text in table for text in ("4,321", "8,765", "3.76", "7.63", "2,400", "off-chip flash 7,040 B", "12,208 B")
    )


def test_broken_limit_and_difference_change_the_verdict(report):
    report["budget"] |= {"passed": False}
    report["budget"]["limits"][2] |= {"passed": False}
    report["exactness"]["host_c"] |= {"logits_mismatched": 3, "max_difference": 1}
    text = Page(render_html(report)).text
    assert "Not proven, 1 of 5 back ends differ; 1 of 8 limits broken" in text
    assert "C on the host: 3 of 3,600 logits differ" in text


def test_names_are_escaped(report):
    report["name"] = report["confusion"]["class_names"][0] = "<script>alert(1)</script>"
    html = render_html(report)
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html


def test_report_without_targets_and_budget_renders(report_run):
    text = Page(render_html(dataclasses.replace(report_run, backends=()).report())).text
    assert "Not proven, no back end ran; no budget set" in text and "No target was built" in text


def test_many_classes_leave_the_matrix_out_but_name_confusions(report):
    names = [f"c{number}" for number in range(30)]
    matrix = [[int(i == k) * 5 for k in range(30)] for i in range(30)]
    matrix[3][7] = 2
    report["confusion"] = {"class_names": names, "images": 152, "matrix": matrix}
    page = Page(render_html(report))
    assert "c3 taken for c7 (2)" in page.text and "Recall" not in page.text


def test_file_is_written_whole_and_invalid_reports_leave_none(report, tmp_path):
    write_html(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == render_html(report)
    del report["layers"]
    with pytest.raises(ArtefactError):
        write_html(report, tmp_path / "other.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
