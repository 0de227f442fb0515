"""Fits to a microcontroller: what a budget says of flash, RAM and instructions holds for the firmware that is linked."""

from __future__ import annotations

import json
import shutil

import pytest

from deploy.config import TargetLimits
from deploy.targets import load_target
from repedge.cli import main
from repedge.fit.allocate import exact
from repedge.fit.choose import bench_of
from repedge.fit.infeasible import Infeasible
from repedge.fit.sensitivity import measure_losses
from repedge.fit.table import cost_of
from repedge.fit.target_fit import Request, TargetFit

pytestmark = [
    pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}")
    for tool in ("arm-none-eabi-gcc", "cmake", "qemu-system-arm")
]


@pytest.fixture(scope="module")
def fit_to(small_net, small_layers, tmp_path_factory):
    """A fit of the small net to limits of a Cortex-M4, checked."""
    work = tmp_path_factory.mktemp("work")
    losses = measure_losses(
        small_net.merged, small_layers, small_net.calibration(64)[0], work / "sensitivity.jsonl", quiet=True
    )

    def fit(**limits) -> TargetFit:
        request = Request(target=load_target("cortex-m4"), limits=TargetLimits(**limits))
        bench = bench_of(small_net, request, work)
        found = TargetFit(small_layers, losses, request, "speed", bench, lambda text: None)
        found.check()
        return found

    return fit


def smallest(fit_to, name: str) -> float:
    with pytest.raises(Infeasible) as refused:
        fit_to(**{name: 1})
    assert refused.value.facts["limit"] == name
    assert "stage" in refused.value.facts["worst_layer"]
    return refused.value.facts["smallest_feasible"]


def test_smallest_flash_is_met_as_linked_and_one_byte_less_is_refused(fit_to):
    least = smallest(fit_to, "flash_bytes")
    with pytest.raises(Infeasible):
        fit_to(flash_bytes=least - 1)
    solution = fit_to(flash_bytes=least).run(exact)
    assert solution.measured.flash_bytes == least


def test_flash_between_is_used_up_but_never_exceeded(fit_to):
    least = smallest(fit_to, "flash_bytes")
    solution = fit_to(flash_bytes=least + 200).run(exact)
    assert solution.measured.flash_bytes <= least + 200
    fewest = sum(layer.options[-1].weight_bytes for layer in solution.table)
    assert cost_of(solution.allocation).weight_bytes > fewest


def test_smallest_ram_is_met_as_linked_and_one_byte_less_is_refused(fit_to):
    least = smallest(fit_to, "ram_bytes")
    with pytest.raises(Infeasible):
        fit_to(ram_bytes=least - 1)
    assert fit_to(ram_bytes=least).run(exact).measured.ram_bytes <= least


def test_instructions_and_flash_hold_together_for_the_emulated_firmware(small_run, tmp_path, capsys):
    arguments = ["fit", str(small_run), "--images", "64", "--quiet", "--no-train", "--json", "--target", "cortex-m4"]
    arguments += ["--bits", "2", "3", "--rounds", "0"]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--flash", "1M", "--instructions", "1"]) == 1
    least = json.loads(capsys.readouterr().out)["smallest_feasible"]
    limit = round(1.05 * least)
    assert main([*arguments, "--out", str(tmp_path / "b"), "--flash", "1M", "--instructions", str(limit)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["firmware"]["instructions"] <= limit
    assert facts["budget"]["targets"]["cortex-m4"] == {
        "flash_bytes": 2**20,
        "instructions": limit,
        "regions": {},
    }
