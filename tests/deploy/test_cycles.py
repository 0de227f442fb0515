from __future__ import annotations

import pytest

from deploy.cycle_rules import block_cycles, classify, register_count
from deploy.cycles import MODELS, Estimate, estimate_cycles, latency_ms, sum_estimates
from deploy.disassembly import Instruction, disassemble, parse_disassembly
from deploy.emulator import build_plugin, run_system
from deploy.profile import BlockCount, BucketCount, Profile
from deploy.targets import load_target
from tests.deploy.small_firmware import build_small_firmware
from train.errors import Mismatch

M3, M4, M7, M55 = (load_target(f"cortex-{core}") for core in ("m3", "m4", "m7", "m55"))


def _code(*lines: str) -> dict[int, Instruction]:
    """Instructions of two bytes each from address 0x100."""
    return parse_disassembly("\n".join(f" {0x100 + 2 * k:x}:\t{line}" for k, line in enumerate(lines)))


def _cycles(core: str, *lines: str) -> int:
    return block_cycles(list(_code(*lines).values()), core)


@pytest.mark.parametrize(
    ("lines", "cycles"),
    [
        (["adds r0, #1"], 1),
        (["ldr r0, [r1]"], 2),
        (["ldr r0, [r1]", "ldrb r2, [r3]", "ldr.w r4, [r5]"], 4),  # N loads in a row: N + 1
        (["str r0, [r1]"], 1),
        (["ldrd r0, r1, [r2]"], 3),
        (["push {r4, r5, r6, lr}"], 5),
        (["pop {r4-r7, pc}"], 6),
        (["smlad r0, r1, r2, r0", "smlal r0, r1, r2, r3", "mla r0, r1, r2, r3"], 3),
        (["bne.n 0x100"], 1),
        (["vldr s0, [r0]", "vldr s1, [r0]"], 3),
        (["sdiv r0, r1, r2"], 7),
        (["it eq", "moveq r0, r1"], 2),
    ],
)
def test_m4_rules(lines, cycles):
    assert _cycles("cortex-m4", *lines) == cycles


def test_m3_multiplies_slower():
    lines = ["mla r0, r1, r2, r3", "smull r0, r1, r2, r3", "smlal r0, r1, r2, r3", "mul r0, r1, r2"]
    assert (_cycles("cortex-m3", *lines), _cycles("cortex-m4", *lines)) == (14, 4)


def test_m55_overlaps_vector_instructions_of_different_kinds():
    assert _cycles("cortex-m55", "vldrb.u8 q0, [r0]", "vmladava.s8 r2, q0, q1") == 3
    assert _cycles("cortex-m55", "vldrb.u8 q0, [r0]", "vldrb.u8 q1, [r1]") == 4
    assert _cycles("cortex-m55", "le lr, 0x100") == 0


@pytest.mark.parametrize(
    ("mnemonic", "kind"),
    [
        ("bls", "branch"),
        ("blt", "branch"),
        ("bics", "other"),
        ("mls", "accumulate"),
        ("muls", "other"),
        ("ldrsbne", "load"),
        ("vmls.f32", "float_accumulate"),
        ("teq", "other"),
        ("ldmia", "multiple"),
        ("strexb", "other"),
    ],
)
def test_mnemonics_are_told_apart(mnemonic, kind):
    assert classify(Instruction(mnemonic, "r0, r1")) == kind


def test_register_lists_are_counted():
    assert register_count("sp!, {r4-r11, lr}") == 9


def _profile(*, executions: int, taken: int, misses: int = 0) -> Profile:
    block = BlockCount(0x100, 0x104, 2, 0, executions, taken)
    bucket = BucketCount(2 * executions, flash_reads=misses, flash_misses=misses)
    return Profile((block,), {0: bucket}, 2 * executions, None)


LOOP = _code("adds r0, #1", "bne.n 0x100")


def test_taken_branches_refill_the_pipeline():
    (layer,) = estimate_cycles(_profile(executions=1000, taken=900), LOOP, M4, 1)
    assert layer == Estimate(round(2900 * 0.85), 2900, round(2900 * 1.15))


def test_wait_states_enter_the_high_end_alone():
    (layer,) = estimate_cycles(_profile(executions=1000, taken=900, misses=10), LOOP, M4, 1)
    assert layer == Estimate(round(2900 * 0.85), 2900, round(2900 * 1.15) + 10 * M4.flash_wait_states)


def test_without_a_flash_cache_taken_branches_wait_too():
    (layer,) = estimate_cycles(_profile(executions=1000, taken=900, misses=10), LOOP, M3, 1)
    assert layer.high == round(2900 * 1.2) + (10 + 900) * M3.flash_wait_states


def test_m7_is_a_share_of_the_m4_rules():
    (layer,) = estimate_cycles(_profile(executions=1000, taken=900), LOOP, M7, 1)
    waits = 900 * M7.flash_wait_states  # no cache is counted on
    assert (layer.low, layer.high) == (round(2900 * 0.493), round(2900 * 0.8165) + waits)


def test_every_core_has_a_model():
    assert sorted(MODELS) == ["cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m4", "cortex-m55", "cortex-m7"]


def test_counts_of_another_image_are_refused():
    with pytest.raises(Mismatch, match="2 instructions executed, 1 disassembled"):
        estimate_cycles(_profile(executions=1, taken=0), _code("adds.w r0, #1"), M4, 1)


def test_sum_and_latency():
    total = sum_estimates((Estimate(1, 2, 3), Estimate(10, 20, 30)))
    assert latency_ms(total, 1000) == Estimate(11, 22, 33)


@pytest.mark.parametrize("target", [M4, M55], ids=["gnu", "llvm"])
def test_every_executed_block_is_disassembled(target, tmp_path):
    elf = build_small_firmware(target, tmp_path)
    profile = run_system(target, elf, tmp_path, plugin=build_plugin(tmp_path)).profile
    layers = estimate_cycles(profile, disassemble(elf, target.core, tmp_path / "disassembly.txt"), target, 3)
    assert all(layer.mid >= count for layer, count in zip(layers, profile.layer_instructions(3), strict=True))
