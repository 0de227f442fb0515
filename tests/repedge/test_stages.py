"""The stage runner: redoes what changed, keeps what did not, leaves nothing half-written."""

from __future__ import annotations

import pytest

from repedge.stages import check_run_folder, claim_run_folder, run_stage
from train.artefact import write_manifest, write_text
from train.errors import ConfigError


def worker(calls, text="content"):
    def work(folder):
        calls.append(folder)
        write_text(folder / "file.txt", text)
        return write_manifest(folder, stage="test", key="k1")

    return work


def test_a_finished_stage_with_the_same_key_is_left_alone(tmp_path):
    calls = []
    run_stage(tmp_path / "stage", "k1", worker(calls))
    _, redone = run_stage(tmp_path / "stage", "k1", worker(calls))
    assert not redone
    assert len(calls) == 1


@pytest.mark.parametrize("damage", ["other key", "altered file", "no manifest"])
def test_a_stage_is_redone_when_its_key_or_its_files_changed(tmp_path, damage):
    calls = []
    run_stage(tmp_path / "stage", "k1", worker(calls))
    if damage == "altered file":
        (tmp_path / "stage" / "file.txt").write_text("CONTENT")
    if damage == "no manifest":
        (tmp_path / "stage" / "manifest.json").unlink()
    _, redone = run_stage(tmp_path / "stage", "k2" if damage == "other key" else "k1", worker(calls, "new"))
    assert redone
    assert (tmp_path / "stage" / "file.txt").read_text() == "new"


def test_a_failed_stage_keeps_the_old_result_and_its_logs_only(tmp_path):
    run_stage(tmp_path / "stage", "k1", worker([]))

    def fail(folder):
        write_text(folder / "half.bin", "half")
        write_text(folder / "tool.log", "what the tool said")
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        run_stage(tmp_path / "stage", "k2", fail)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["stage.failed-logs/tool.log", "stage/file.txt", "stage/manifest.json"]


def test_a_folder_of_another_recipe_is_refused_without_force(tmp_path):
    folder = check_run_folder(tmp_path / "run", "first", force=False)
    assert not folder.path.exists()
    claim_run_folder(folder, "first", "name: first\n")
    write_text(folder.path / "report.json", "{}")
    assert check_run_folder(tmp_path / "run", "first", force=False) == folder
    with pytest.raises(ConfigError, match="holds the run of recipe first, asked for is second"):
        check_run_folder(tmp_path / "run", "second", force=False)
    claim_run_folder(check_run_folder(tmp_path / "run", "second", force=True), "second", "name: second\n")
    assert not (folder.path / "report.json").exists()


def test_a_folder_of_foreign_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="files that are not a run"):
        check_run_folder(tmp_path, "any", force=False)
    claim_run_folder(check_run_folder(tmp_path, "any", force=True), "any", "name: any\n")
    assert (tmp_path / "thesis.tex").read_text() == "precious"
