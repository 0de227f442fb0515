from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.budget import check_budget
from deploy.config import BudgetConfig
from deploy.junit import junit_xml
from repedge.cli import main
from train.artefact import write_json, write_text

REPORT = {
    "name": "mine <&>",
    "accuracy": {"numpy": {"top1": 90.0}},
    "model": {"weight_bytes": 1000},
    "targets": {},
    "layers": [{"name": "stage1.0", "flash_bytes": 900}],
}


@given(limit=st.integers(1, 2000))
def test_failures_in_the_xml_are_the_broken_limits(limit):
    budget = BudgetConfig.model_validate({"accuracy": {"top1_min": 80}, "model": {"weight_bytes": limit}})
    suite = ElementTree.fromstring(junit_xml(check_budget(budget, REPORT), run=REPORT["name"]))[0]
    assert (suite.get("name"), suite.get("tests")) == ("mine <&>", "2")
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == (limit < 1000)


# what Jenkins' jenkins-junit.xsd allows, which is stricter than GitHub's and GitLab's readers
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id"},
    "testcase": {"name", "classname", "time", "assertions", "status"},
    "failure": {"type", "message"},
    "system-out": set(),
}
CHILDREN = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "system-out"}}


def test_the_xml_has_the_elements_and_attributes_that_ci_servers_know():
    budget = BudgetConfig.model_validate({"accuracy": {"top1_min": 80}, "model": {"weight_bytes": 999}})
    root = ElementTree.fromstring(junit_xml(check_budget(budget, REPORT), run="mine"))
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert names == [("mine.accuracy", "top1_min"), ("mine.model", "weight_bytes")]


def test_a_failure_names_the_layer_to_blame():
    result = check_budget(BudgetConfig.model_validate({"model": {"weight_bytes": 999}}), REPORT)
    failure = ElementTree.fromstring(junit_xml(result, run="mine")).find("testsuite/testcase/failure")
    assert failure.get("message") == ("model.weight_bytes: 1,000 bytes, allowed at most 999; worst layer: stage1.0")


@pytest.mark.parametrize(("limit", "code"), [(1000, 0), (999, 1)])
def test_check_writes_the_xml_and_the_table_whether_the_budget_holds_or_not(tmp_path, capsys, limit, code):
    write_json(tmp_path / "report.json", REPORT)
    write_text(tmp_path / "budget.yaml", f"model: {{weight_bytes: {limit}}}\n")
    arguments = ["check", str(tmp_path), "--budget", str(tmp_path / "budget.yaml"), "--junit", str(tmp_path / "j.xml")]
    assert main(arguments) == code
    text = capsys.readouterr().out
    assert "model.weight_bytes" in text and ("worst layer: stage1.0" in text) == bool(code)
    assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") == str(code)
