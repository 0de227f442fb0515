from __future__ import annotations

import pytest

from deploy.emulator import build_plugin, run_system, run_user
from deploy.profile import OUTSIDE
from deploy.targets import load_target
from deploy.tool import find_tool
from tests.deploy.small_firmware import build_linux_program, build_small_firmware
from train.errors import ToolFailed, ToolMissing

M4 = load_target("cortex-m4")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return build_plugin(tmp_path_factory.mktemp("plugin"))


def test_plugin_is_built_once(tmp_path):
    first = build_plugin(tmp_path)
    time = first.stat().st_mtime_ns
    assert build_plugin(tmp_path).stat().st_mtime_ns == time


@pytest.mark.parametrize("name", ["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_two_runs_count_the_same_blocks_on_every_board(name, tmp_path, plugin):
    target = load_target(name)
    elf = build_small_firmware(target, tmp_path)
    first = run_system(target, elf, tmp_path / "first", plugin=plugin)
    second = run_system(target, elf, tmp_path / "second", plugin=plugin)
    assert first.profile == second.profile
    assert "small: done" in first.output


def test_layers_and_outside_sum_to_the_total(tmp_path, plugin):
    profile = run_system(M4, build_small_firmware(M4, tmp_path), tmp_path, plugin=plugin).profile
    layers = profile.layer_instructions(3)
    assert sum(layers) + profile.buckets[OUTSIDE].instructions == profile.instructions


def test_counts_of_two_images_are_twice_those_of_one(tmp_path, plugin):
    (tmp_path / "two").mkdir()
    one = run_system(M4, build_small_firmware(M4, tmp_path), tmp_path, plugin=plugin).profile
    two_images = build_small_firmware(M4, tmp_path / "two", images=2)
    two = run_system(M4, two_images, tmp_path / "two", plugin=plugin).profile
    assert two.instructions_per_inference(3, 2) == one.layer_instructions(3)


def test_stores_of_each_layer_are_located(tmp_path, plugin):
    elf = build_small_firmware(M4, tmp_path)
    profile = run_system(M4, elf, tmp_path, plugin=plugin).profile
    low0, high0 = profile.buckets[0].touched
    low1, high1 = profile.buckets[1].touched
    assert (high0 - low0, low1 - high0, high1 - low1) == (100, 0, 28)


def test_stack_depth_is_seen(tmp_path, plugin):
    profile = run_system(M4, build_small_firmware(M4, tmp_path), tmp_path, plugin=plugin).profile
    top = M4.ram.link_origin + 1024
    assert 4 * 64 < top - profile.stack_lowest < 1024


def test_flash_misses_are_at_most_the_reads(tmp_path, plugin):
    profile = run_system(M4, build_small_firmware(M4, tmp_path), tmp_path, plugin=plugin).profile
    reads, misses = profile.buckets[0].flash_reads, profile.buckets[0].flash_misses
    # 100 bytes of a table of 40: three lines of 16 bytes, and the literal pool
    assert reads >= 100
    assert 3 <= misses <= 8


def test_without_a_cache_every_flash_read_misses(tmp_path, plugin):
    target = M4.model_copy(update={"flash_cache_lines": 0})
    profile = run_system(target, build_small_firmware(target, tmp_path), tmp_path, plugin=plugin).profile
    assert profile.buckets[0].flash_misses == profile.buckets[0].flash_reads


def test_a_status_other_than_zero_is_an_error(tmp_path):
    elf = build_small_firmware(M4, tmp_path, status=5)
    with pytest.raises(ToolFailed, match=r"with status 5(.|\n)*small: done"):
        run_system(M4, elf, tmp_path)


def test_a_fault_is_named(tmp_path):
    elf = build_small_firmware(M4, tmp_path, defines=("-DFAULT",))
    with pytest.raises(ToolFailed, match=r"HardFault|BusFault"):
        run_system(M4, elf, tmp_path)


def test_a_program_that_hangs_is_stopped(tmp_path):
    elf = build_small_firmware(M4, tmp_path, defines=("-DHANG",))
    with pytest.raises(ToolFailed, match="still running after 1 s"):
        run_system(M4, elf, tmp_path, timeout_s=1)


def test_user_mode_counts_do_not_depend_on_the_environment(tmp_path, plugin, monkeypatch):
    target = load_target("cortex-a53")
    program = build_linux_program(tmp_path, compiler=target.compiler)
    first = run_user(target, program, ("hello",), tmp_path, plugin=plugin, memory=True)
    monkeypatch.setenv("LONG", "x" * 3000)
    second = run_user(target, program, ("hello",), tmp_path, plugin=plugin, memory=True)
    assert first.output == "hello 499545\n"
    assert first.profile == second.profile
    assert first.counts.layer_instructions(2)[0] > 50 * first.counts.layer_instructions(2)[1]


def test_a_missing_tool_names_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolMissing, match="apt-get install qemu-user"):
        find_tool("qemu-aarch64")
