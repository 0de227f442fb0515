from __future__ import annotations

import itertools

import pytest

from deploy.budget import check_figures_exist
from deploy.config import BudgetConfig
from deploy.machines import MACHINES
from deploy.targets import CortexMTarget, load_target, target_names
from train.errors import ConfigError

OWN_BOARD = """\
kind: cortex_m
core: cortex-m4
chip: STM32L433CC
clock_hz: 80_000_000
flash: {origin: 0x08000000, size_bytes: 0x40000}
ram: {origin: 0x20000000, size_bytes: 0xC000}
flash_wait_states: 4
"""


@pytest.fixture
def own_board(tmp_path):
    def write(text: str = OWN_BOARD) -> str:
        path = tmp_path / "my-board.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("name", target_names())
def test_every_figure_that_ships_has_a_source_or_is_unverified(name):
    target = load_target(name)
    assert target.name == name
    assert sorted([*target.sources, *target.unverified]) == sorted(target.figures())


def test_at_least_25_real_boards_ship():
    boards = [name for name in target_names() if not name.startswith(("cortex-", "ethos-"))]
    assert len(boards) >= 25


@pytest.mark.parametrize("name", [name for name in target_names() if load_target(name).kind == "cortex_m"])
def test_memory_regions_of_a_chip_do_not_overlap(name):
    target = load_target(name)
    assert isinstance(target, CortexMTarget)
    regions = sorted((r.origin, r.origin + r.size_bytes) for r in (target.flash, target.ram, *target.regions.values()))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(regions))


def test_a_board_of_ones_own_runs_on_the_usual_machine_of_its_core(own_board):
    target = load_target(own_board())
    assert isinstance(target, CortexMTarget)
    machine = MACHINES["cortex-m4"]
    assert (target.name, target.machine) == ("my-board", machine.name)
    assert (target.flash.link_origin, target.ram.link_origin) == (machine.flash_origin, machine.ram_origin)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flash_wait_states: 4", "flash_wait_state: 4", "did you mean flash_wait_states"),
        ("size_bytes: 0x40000", "size: 0x40000", "flash.size_bytes: missing"),
        ("clock_hz: 80_000_000\n", "", "clock_hz: missing; add this key"),
        ("cortex-m4", "cortex-m9", "core: found 'cortex-m9'; Input should be 'cortex-m0plus', 'cortex-m3'"),
        ("cortex_m\n", "cortexm\n", "kind cortexm; allowed are cortex_m, cortex_a, ethos_u"),
        ("chip:", "unverified: [flsh]\nchip:", "name figures of this target (core, clock_hz, flash, ram"),
        (OWN_BOARD, "[1, 2]", "holds a list, allowed is a mapping"),
        (OWN_BOARD, "kind: {", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_error_that_says_what_is_allowed(own_board, old, new, message):
    with pytest.raises(ConfigError) as raised:
        load_target(own_board(OWN_BOARD.replace(old, new)))
    assert message in str(raised.value)


def test_a_misspelt_target_is_answered_with_the_nearest_ones():
    with pytest.raises(ConfigError, match="nucleo-f446: no such target; did you mean nucleo-f446re"):
        load_target("nucleo-f446")


def test_a_limit_cannot_rest_on_an_unverified_figure():
    target = load_target("nrf52840-dk")
    budget = BudgetConfig.model_validate({"targets": {target.name: {"latency_ms": 20}}})
    with pytest.raises(ConfigError, match=r"nrf52840-dk\.latency_ms: it would rest on flash_wait_states"):
        check_figures_exist(budget, [target])


def test_other_limits_of_such_a_target_stand():
    target = load_target("nrf52840-dk")
    budget = BudgetConfig.model_validate({"targets": {target.name: {"flash_bytes": 65536, "instructions": 10**6}}})
    check_figures_exist(budget, [target])
