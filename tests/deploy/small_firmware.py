"""Builds `small_firmware.c` and a small Linux program for the tests of the emulator."""

from __future__ import annotations

from pathlib import Path

from deploy.targets import CortexMTarget
from deploy.tool import run_tool
from tests.need import need

FOLDER = Path(__file__).parent

LINKER_SCRIPT = """
MEMORY {{ FLASH (rx) : ORIGIN = {flash:#x}, LENGTH = {flash_bytes}   RAM (rwx) : ORIGIN = {ram:#x}, LENGTH = {ram_bytes} }}
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) . = ALIGN(8); }} > FLASH
  __data_load = LOADADDR(.data);
  .stack (NOLOAD) : {{ . = . + 1024; __stack_top = .; }} > RAM
  .data : {{ __data_start = .; *(.data*) . = ALIGN(8); __data_end = .; }} > RAM AT > FLASH
  .bss (NOLOAD) : {{ __bss_start = .; *(.bss*) *(COMMON) . = ALIGN(8); __bss_end = .; }} > RAM
}}
"""

LINUX_PROGRAM = """
#include <stdint.h>
#include <stdio.h>
volatile uint32_t prof_marks[64];
__attribute__((noinline)) void prof_mark(uint32_t layer) { prof_marks[layer] = layer; }
int main(int count, char **arguments)
{
    volatile uint32_t sum = 0;
    prof_mark(0);
    for (uint32_t k = 0; k < 1000; k++) { sum += k; }
    prof_mark(1);
    for (uint32_t k = 0; k < 10; k++) { sum += k; }
    prof_mark(63);
    printf("%s %u\\n", count > 1 ? arguments[1] : "", (unsigned)sum);
    return 0;
}
"""


def build_small_firmware(
    target: CortexMTarget, folder: Path, *, images: int = 1, status: int = 0, defines: tuple[str, ...] = ()
) -> Path:
    """The ELF file of `small_firmware.c` for a target."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    script, elf = folder / "small.ld", folder / "small.elf"
    flash, ram = target.flash, target.ram
    script.write_text(
        LINKER_SCRIPT.format(
            flash=flash.link_origin, flash_bytes=flash.size_bytes, ram=ram.link_origin, ram_bytes=ram.size_bytes
        )
    )
    command = ["arm-none-eabi-gcc", f"-mcpu={target.core}", "-mthumb", "-mfloat-abi=soft", "-Os", "-nostdlib"]
    command += ["-ffreestanding", "-fno-tree-loop-distribute-patterns", f"-DIMAGES={images}", f"-DSTATUS={status}"]
    command += [*defines, "-T", str(script), "-o", str(elf), str(FOLDER / "small_firmware.c")]
    run_tool(command, cwd=folder, log=folder / "build.log")
    return elf


def build_linux_program(folder: Path, *, compiler: str) -> Path:
    """A marked program for user-mode emulation, linked at fixed addresses."""
    need(compiler, "qemu-aarch64")
    source, program = folder / "marked.c", folder / "marked"
    source.write_text(LINUX_PROGRAM)
    run_tool([compiler, "-O1", "-no-pie", "-o", program, source], cwd=folder, log=folder / "build.log")
    return program
