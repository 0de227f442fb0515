"""A checked budget as JUnit XML, the form in which CI systems read test results: one test case per limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from deploy.budget import describe_limit
from train.artefact import write_bytes

SUITE = "repedge budget"


def write_junit(budget: Mapping[str, Any], path: Path, *, run: str) -> None:
    """Write report.json's `budget` section; equal budgets give equal bytes, so there is no time in it."""
    write_bytes(path, junit_xml(budget, run=run))


def junit_xml(budget: Mapping[str, Any], *, run: str) -> bytes:
    """UTF-8 XML; `run` names what was checked. A broken limit is a failure whose message names the worst layer."""
    limits = budget["limits"]
    broken = sum(not limit["passed"] for limit in limits)
    counts = {"tests": str(len(limits)), "failures": str(broken), "errors": "0"}
    # Jenkins' schema allows the attribute skipped of a suite, not of all suites together
    root = ElementTree.Element("testsuites", {"name": SUITE, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": run, **counts, "skipped": "0"})
    for limit in limits:
        group, _, figure = limit["name"].partition(".")
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"{run}.{group}", "name": figure, "time": "0"})
        if limit["passed"]:
            ElementTree.SubElement(case, "system-out").text = describe_limit(limit)
        else:
            failure = ElementTree.SubElement(case, "failure", {"type": "BudgetExceeded"})
            failure.set("message", describe_limit(limit))
            failure.text = describe_limit(limit)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"
