"""One whole run through the command line: training to report, then what a user does with it afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deploy.vela_stream import read_vela_output
from repedge.cli import main
from repedge.verify_formats import FORMATS

RECIPE = """
name: tiny
data: {name: digits}
model: {widths: [8, 12, 16], depths: [1, 2, 1], strides: [1, 2, 2]}
train:
  float_phase: {epochs: 4, batch_size: 64, learning_rate: 0.1}
  qat_phase: {epochs: 2, batch_size: 64, learning_rate: 0.02}
deploy: {targets: [cortex-m4, cortex-a53, ethos-u55-128], emulated_images: 12, runtimes: [tflite_runtime, litert]}
budget:
  accuracy: {top1_min: 30}
  targets: {cortex-m4: {flash_bytes: 65536, ram_bytes: 32768}}
"""
EXACT = {"host_c", "tflite_ref", "onnx_integer", "tvm_host", "tvm_cortex-a53", "firmware_cortex-m4"}
NEEDED = ("qemu-system-arm", "qemu-aarch64", "arm-none-eabi-gcc", "aarch64-linux-gnu-gcc", "cmake")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> tuple[Path, Path]:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"missing {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("end_to_end")
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    assert main(["run", str(recipe), "--out", str(folder / "run"), "--quiet"]) == 0
    return recipe, folder / "run"


def report_of(run: Path) -> dict:
    return json.loads((run / "report.json").read_text())


def test_every_back_end_gives_the_integers_of_the_reference(finished_run):
    report = report_of(finished_run[1])
    assert set(report["exactness"]) == EXACT
    for entry in report["exactness"].values():
        assert entry["logits_mismatched"] == 0
        assert entry["saturated_share"] < 0.5
        assert entry["distinct_predictions"] > 5
    assert report["exactness"]["host_c"]["images"] == report["accuracy"]["numpy"]["images"]
    assert report["exactness"]["firmware_cortex-m4"]["images"] == 12


def test_the_net_learned_something(finished_run):
    assert report_of(finished_run[1])["accuracy"]["numpy"]["top1"] > 60


def test_a_second_run_redoes_nothing(finished_run, capsys):
    recipe, run = finished_run
    before = {path: path.stat().st_mtime_ns for path in run.rglob("manifest.json")}
    assert main(["run", str(recipe), "--out", str(run)]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("manifest.json")} == before
    assert capsys.readouterr().err.count("up to date") == 6  # train, convert, host and three targets


def test_a_limit_that_no_kernels_fit_into_names_the_smallest_that_they_do(finished_run, capsys):
    recipe, run = finished_run
    command = ["deploy", str(recipe), "--out", str(run), "--target", "cortex-m4", "--quiet", "--ram-limit", "2KB"]
    assert main(command) == 1
    assert "the RAM limit is 2048 bytes, the smallest feasible is" in capsys.readouterr().err


def test_report_tells_where_instructions_go_and_what_else_could_be_chosen(finished_run):
    target = report_of(finished_run[1])["targets"]["cortex-m4"]
    assert sum(row["instructions"] for row in target["functions"]) == target["instructions"]
    assert target["trade_off"]["points"]
    assert 'id="kernels"' in (finished_run[1] / "report.html").read_text()


def test_a_run_of_the_same_recipe_elsewhere_differs_in_nothing(finished_run, capsys):
    recipe, run = finished_run
    other = run.parent / "again"
    assert main(["run", str(recipe), "--out", str(other), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(other), "--threshold", "0"]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert [entry["folder"] for entry in report_of(other)["runs"]["runs"]] == ["", run.name]
    assert (other / "report.md").read_text().startswith("# tiny\n")


def test_inspect_explains_every_artefact(finished_run, capsys):
    run = finished_run[1]
    skipped = {".bin", ".ld", ".map", ".su", ".npy"}
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix not in skipped]
    explained = [path for path in files if "build" not in path.parts and "tensorboard" not in path.parts]
    assert len(explained) > 20
    for path in explained:
        assert main(["inspect", str(path), "--json"]) == 0, path
        assert json.loads(capsys.readouterr().out)["kind"]


def test_every_file_that_holds_the_model_is_verified(finished_run, capsys):
    run = finished_run[1]
    patterns = [pattern for form in FORMATS for pattern in form.patterns]
    files = {path for pattern in patterns for path in run.rglob(pattern)}
    assert {path.name for path in files} >= {
        "model_int8.tflite", "model_integer.onnx", "model_qdq.onnx", "model_data.c", "module.json", "repedge_host",
        "repedge.elf", "librepedge_model.so", "model_int8_vela.tflite", "model_vela.c",
    }  # fmt: skip
    for path in sorted(files):
        assert main(["inspect", str(path), "--verify"]) == 0, path
    capsys.readouterr()


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_damaged_weight_stream_of_the_npu_names_its_layer(finished_run, tmp_path, share, capsys):
    run = finished_run[1]
    folder = shutil.copytree(run / "deploy" / "ethos-u55-128", tmp_path / "ethos-u55-128")
    path = folder / "model_int8_vela.tflite"
    output, content = read_vela_output(path, "ethos-u55-128"), bytearray(path.read_bytes())
    stream = output.calls[1].weights[0]
    start = content.index(output.flash[stream.offset : stream.offset + stream.length])
    content[start + int(share * stream.length)] ^= 0x10  # early in the stream the codec gives up, later values change
    path.write_bytes(content)
    assert main(["inspect", str(path), "--verify", "--model", str(run)]) == 1
    assert "layer stage2.0" in capsys.readouterr().err


def test_check_names_the_worst_layer_of_a_broken_limit(finished_run, tmp_path, capsys):
    run = finished_run[1]
    flash = report_of(run)["targets"]["cortex-m4"]["flash_bytes"]["total"]
    budget = tmp_path / "budget.yaml"
    budget.write_text(f"targets: {{cortex-m4: {{flash_bytes: {flash}}}}}")
    assert main(["check", str(run), "--budget", str(budget)]) == 0
    budget.write_text(f"targets: {{cortex-m4: {{flash_bytes: {flash - 1}}}}}")
    assert main(["check", str(run), "--budget", str(budget)]) == 1
    assert "worst layer: stage" in capsys.readouterr().out


def test_a_run_does_not_differ_from_itself(finished_run, capsys):
    run = str(finished_run[1])
    assert main(["compare", run, run, "--threshold", "0"]) == 0
    assert "no difference" in capsys.readouterr().out


def test_the_folder_of_another_recipe_is_refused(finished_run, capsys):
    recipe, run = finished_run
    assert main(["run", str(recipe), "--out", str(run), "--set", "name=other"]) == 2
    assert "asked for is other" in capsys.readouterr().err


def test_an_altered_checkpoint_stops_convert(finished_run, tmp_path, capsys):
    recipe, run = finished_run
    shutil.copytree(run, tmp_path / "run")
    checkpoint = tmp_path / "run" / "train" / "qat.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-64])
    assert main(["convert", str(recipe), "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "truncated or altered" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob(".*partial"))
