"""Targets as data: one YAML file each in `deploy/targets/`, or a user's own file given by its path.

`load_target("cortex-m4")` gives one of three frozen sections by its `kind`. Numbers of a chip come with their source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from train.config import Section
from train.errors import ConfigError

FOLDER = Path(__file__).parent / "targets"


class Region(Section):
    """One memory region of the chip; `emulated_origin` is where the emulated machine has memory for it."""

    origin: int = Field(ge=0)
    size_bytes: int = Field(gt=0)
    emulated_origin: int | None = None

    @property
    def link_origin(self) -> int:
        """The address the emulated image is linked at."""
        return self.origin if self.emulated_origin is None else self.emulated_origin


class CortexMTarget(Section):
    """A microcontroller: its real flash and RAM are enforced by the linker and an MPU region."""

    kind: Literal["cortex_m"]
    name: str
    description: str
    core: Literal["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
    chip: str
    clock_hz: int = Field(gt=0)
    flash: Region
    ram: Region
    stack_bytes: int = Field(2048, ge=512)
    flash_wait_states: int = Field(0, ge=0, description="at clock_hz")
    flash_cache_lines: int = Field(8, ge=0, le=64, description="data lines that the chip caches; 0 = no cache at all")
    flash_line_bytes: int = Field(16, ge=4, description="a power of two")
    machine: str = Field(description="QEMU machine")
    source: str = Field(description="the text the chip's numbers were read in")


class CortexATarget(Section):
    """An ARM Linux core: kernels by TVM, run by a user-mode emulator. Latency only as instructions over an IPC range."""

    kind: Literal["cortex_a"]
    name: str
    description: str
    cpu: str = Field(description="-mcpu of LLVM and of QEMU")
    triple: str
    features: tuple[str, ...] = ()
    clock_hz: int = Field(gt=0)
    instructions_per_cycle_low: float = Field(gt=0)
    instructions_per_cycle_high: float = Field(gt=0)
    compiler: str = Field(description="cross compiler, e.g. aarch64-linux-gnu-gcc")
    emulator: str = Field(description="QEMU user-mode program, e.g. qemu-aarch64")
    sysroot: str
    source: str


class EthosUTarget(Section):
    """An Arm Ethos-U NPU: compiled and decoded by Vela, never executed here."""

    kind: Literal["ethos_u"]
    name: str
    description: str
    accelerator: str = Field(description="Vela --accelerator-config")
    system_config: str
    memory_mode: str
    clock_hz: int = Field(gt=0)
    source: str


Target = CortexMTarget | CortexATarget | EthosUTarget
_ADAPTER: TypeAdapter[Target] = TypeAdapter(Annotated[Target, Field(discriminator="kind")])


def target_names() -> list[str]:
    """Names of all targets that ship with the product."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_target(name: str) -> Target:
    """The target of that name, or of the YAML file at that path."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"target {name}: no such target; allowed are {', '.join(target_names())} or a path to a .yaml file"
        )
    try:
        return _ADAPTER.validate_python(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"target file {path}: {error}") from error
