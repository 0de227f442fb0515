"""The report's part on kernels: functions, traffic and trade-offs of each microcontroller, and nothing where there are none."""

from __future__ import annotations

from deploy.report_html import render_html
from deploy.report_kernels import kernel_views


def test_only_targets_profiled_by_function_are_shown(report):
    assert [view["name"] for view in kernel_views(report["targets"])] == ["cortex-m4"]


def test_points_lie_inside_the_chart_and_more_ram_is_further_right(report):
    chart = kernel_views(report["targets"])[0]["trade_off"]
    assert all(0 < point["x"] < 100 and 0 < point["y"] < 100 for point in [*chart["points"], chart["built"]])
    assert [point["x"] for point in chart["points"]] == sorted(point["x"] for point in chart["points"])
    # fewer instructions are lower
    assert chart["points"][-1]["y"] > chart["points"][0]["y"]


def test_page_shows_functions_traffic_estimated_and_counted_points(report):
    page = render_html(report)
    assert "repedge_conv3x3_s8" in page
    assert "Loaded, B" in page
    kernels = page[page.index('id="kernels"') :]
    assert 'built <abbr class="mark exact"' in kernels[: kernels.index("</section>")]
    assert 'title="estimated"' in kernels[: kernels.index("</section>")]
    assert f"{report['targets']['cortex-m4']['peak_ram_bytes']['total']:,} B" in page


def test_page_of_a_run_without_microcontroller_has_no_such_section(report):
    del report["targets"]["cortex-m4"]
    assert 'id="kernels"' not in render_html(report)
