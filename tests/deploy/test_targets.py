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
        (
            "cortex-m4",
            "cortex-m9",
            "core: found 'cortex-m9'; did you mean cortex-m7? allowed are cortex-m0plus, cortex-m3,",
        ),
        ("cortex-m4", "m4", "core: found 'm4'; did you mean cortex-m4?"),
        ("80_000_000", "80 MHz", "clock_hz: found '80 MHz'; allowed is a whole number, without a unit"),
        ("80_000_000", "80", "clock_hz: found 80; allowed is at least 100000"),
        (
            "{origin: 0x08000000, size_bytes: 0x40000}",
            "262144",
            "flash: found 262144; allowed is a section with the keys",
        ),
        ("0x40000", "256 KX", "flash.size_bytes: found '256 KX'; allowed are bytes, KB or MB"),
        ("0x20000000", "0x08001000", "flash and ram: overlap from 0x8001000 to 0x800d000"),
        ("0x20000000", "0xFFFFFFF0", "ram: ends at 0x10000bff0, allowed are addresses of 32 bits"),
        ("0x08000000", "0x08000002", "flash: origin 0x8000002, size 262,144 B; allowed are multiples of 8"),
        ("chip:", "extensions: [mve]\nchip:", "extensions: mve on a cortex-m4, which can have dsp, fpu"),
        ("core: cortex-m4", "extensions: []\ncore: cortex-m33", "no dsp, which the kernels of cortex-m33 use"),
        ("chip:", "stack_bytes: 49152\nchip:", "stack_bytes: 49,152, allowed is less than the ram's 49,152"),
        ("chip:", "flash_line_bytes: 12\nchip:", "flash_line_bytes: 12, allowed are powers of two"),
        ("chip:", "name: ../x\nchip:", "name: found '../x'; allowed is text of the pattern"),
        ("chip:", "regions: {ram: {origin: 0, size_bytes: 8}}\nchip:", "regions: ram is taken by the key beside it"),
        ("chip:", "clock_hz: 1_000_000\nchip:", "key clock_hz stands twice, in lines 3 and 5; remove one"),
        ("kind: cortex_m\n", "", "kind: missing; allowed are cortex_m, cortex_a, ethos_u; add this key"),
        (
            "cortex_m\n",
            "cortexm\n",
            "kind: found 'cortexm'; did you mean cortex_m? allowed are cortex_m, cortex_a, ethos_u",
        ),
        ("chip:", "unverified: [flsh]\nchip:", "name figures of this target (core, clock_hz, flash, ram"),
        (OWN_BOARD, "[1, 2]", "holds a list, allowed is a mapping"),
        (OWN_BOARD, "kind: {", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_error_that_says_what_is_allowed(own_board, old, new, message):
    with pytest.raises(ConfigError) as raised:
        load_target(own_board(OWN_BOARD.replace(old, new)))
    assert message in str(raised.value)


def test_a_size_may_have_a_unit_and_a_core_has_its_usual_extensions(own_board):
    target = load_target(own_board(OWN_BOARD.replace("0x40000", "256KB")))
    assert isinstance(target, CortexMTarget)
    assert (target.flash.size_bytes, target.extensions) == (0x40000, ("dsp", "fpu"))


def test_external_memory_is_linked_as_far_as_the_emulated_machine_has_it(own_board):
    target = load_target(own_board(OWN_BOARD.replace("0xC000", "64MB")))
    assert isinstance(target, CortexMTarget)
    assert (target.ram.size_bytes, target.link_ram_bytes) == (64 << 20, MACHINES["cortex-m4"].ram_bytes)


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
