from __future__ import annotations

import json

from repedge.cli import main
from train.artefact import write_json, write_manifest, write_text

REPORT = {
    "accuracy": {"numpy": {"top1": 98.0, "images": 360}},
    "exactness": {"host_c": {"logits_mismatched": 0}, "firmware_cortex-m4": {"logits_mismatched": 2}},
    "model": {"weight_bytes": 1000},
    "targets": {"cortex-m4": {"flash_bytes": {"total": 2000}, "ram_bytes": {"total": 300}, "instructions": 5000}},
    "budget": {"limits": [{"passed": True}, {"passed": False}]},
}


def facts(path, capsys) -> dict:
    assert main(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_finished_run_shows_its_first_figures(tmp_path, capsys):
    write_text(tmp_path / "recipe.yaml", "name: r\n")
    write_json(tmp_path / "report.json", REPORT)
    (tmp_path / "train").mkdir()
    found = facts(tmp_path, capsys)
    assert found["stages"] == {"train": "unfinished", "convert": "not run", "deploy": "not run"}
    assert found["logits that differ from the reference"] == 2
    assert found["targets"] == {"cortex-m4": "flash 2,000 B, RAM 300 B, 5,000 instructions"}
    assert found["budget"] == "1 of 2 limits met"


def test_another_folder_shows_what_is_in_it(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    assert facts(tmp_path, capsys)["holds"] == ["x"]


def test_a_file_is_held_against_the_manifest_beside_it(tmp_path, capsys):
    path = tmp_path / "metrics.json"
    write_json(path, {"top1": 98.0})
    assert "manifest" not in facts(path, capsys)
    write_manifest(tmp_path, stage="convert", key="k")
    assert facts(path, capsys)["manifest"] == "unaltered since the convert stage"
    write_json(path, {"top1": 99.0})
    assert facts(path, capsys)["manifest"].startswith("ALTERED")
    (tmp_path / "manifest.json").write_text("{")
    assert facts(path, capsys)["manifest"].startswith("not readable")
