"""The results file: finished cells survive crashes, many writers, and changes."""

from __future__ import annotations

import json
import multiprocessing

from repedge.results_file import ResultsFile


def test_a_line_cut_short_is_dropped_and_cut_off(tmp_path):
    results = ResultsFile(tmp_path / "r.jsonl", tmp_path / "lock")
    results.keep({"cell": "a", "value": 1})
    with results.path.open("a") as handle:
        handle.write('{"cell": "b", "val')
    assert list(results.lines()) == ["a"]
    results.keep({"cell": "c", "value": 3})
    assert list(results.lines()) == ["a", "c"]
    assert all(json.loads(line) for line in results.path.read_text().splitlines())


def test_facts_are_added_to_a_finished_cell(tmp_path):
    results = ResultsFile(tmp_path / "new" / "r.jsonl", tmp_path / "other" / "lock")
    results.keep({"cell": "a", "value": 1})
    results.keep({"cell": "b", "value": 2})
    results.change("a", {"test": 5})
    assert results.lines() == {"a": {"cell": "a", "value": 1, "test": 5}, "b": {"cell": "b", "value": 2}}


def _write(results: ResultsFile, name: str) -> None:
    for number in range(50):
        results.keep({"cell": f"{name}{number}"})
        results.change(f"{name}{number}", {"changed": True})


def test_writers_of_several_processes_lose_nothing(tmp_path):
    results = ResultsFile(tmp_path / "r.jsonl", tmp_path / "lock")
    writers = [multiprocessing.Process(target=_write, args=(results, name)) for name in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = results.lines()
    assert len(lines) == 150 and all(line["changed"] for line in lines.values())
