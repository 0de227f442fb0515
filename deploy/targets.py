"""Targets as data: one YAML file each in `deploy/targets/`, or a user's own file given by its path.

`load_target("cortex-m4")` gives one of three frozen sections by its `kind`. Each figure of a target that ships here says in
`sources` which text it was read in, or stands in `unverified`; no budget can rest on an unverified figure.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from convert.tvm_schedule import VectorName
from deploy.board_rules import EXTENSIONS, extensions_problem, line_problem, memory_problem, name_problem, stack_problem
from deploy.config import Bytes
from deploy.machines import MACHINES
from train.config import Section
from train.errors import ConfigError
from train.validation import explain
from train.yaml_file import read_yaml_mapping

FOLDER = Path(__file__).parent / "targets"
PALETTE_ENTRIES = 32  # of Ethos-U's weight decoder; more codebook entries are stored as plain int8
TVM_PREFIX = "tvm-"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # it names a folder, and keys of reports, whose parts are joined by dots
SLOWEST_HZ = 100_000  # the slowest clock that chips run at (the STM32L4's MSI); less is a figure in MHz or kHz


class Region(Section):
    """One memory region of the chip; `emulated_origin` is where the emulated machine has memory for it."""

    origin: int = Field(ge=0)
    size_bytes: Bytes = Field(gt=0, description="or as 256KB")
    emulated_origin: int | None = None

    @property
    def link_origin(self) -> int:
        """The address the emulated image is linked at."""
        return self.origin if self.emulated_origin is None else self.emulated_origin


class Documented(Section):
    """What all targets say of their figures. A user's own file need not: its author vouches for the numbers."""

    # figure -> the limits that rest on it
    LIMITS: ClassVar[dict[str, tuple[str, ...]]] = {}

    name: str = Field(pattern=NAME, description="without it that of the file")
    description: str = ""
    clock_hz: int = Field(ge=SLOWEST_HZ, description="in hertz, as 80_000_000")
    sources: dict[str, str] = Field({}, description="figure -> the text it was read in")
    unverified: tuple[str, ...] = Field((), description="figures that were read in no text")

    @model_validator(mode="after")
    def _figures_exist(self) -> Self:
        known = self.figures()
        for name in (*self.sources, *self.unverified):
            if name not in known:
                raise ValueError(f"sources and unverified name figures of this target ({', '.join(known)}), not {name}")
        both = sorted(set(self.sources) & set(self.unverified))
        if both:
            raise ValueError(f"{', '.join(both)}: in sources and in unverified; a figure stands in one of them")
        return self

    def figures(self) -> tuple[str, ...]:
        """The figures that need a source."""
        return tuple(self.LIMITS)

    @property
    def source(self) -> str:
        """All sources in one line."""
        return "; ".join(f"{figure}: {text}" for figure, text in self.sources.items())

    def unverified_limits(self) -> dict[str, str]:
        """Limit of a budget -> the first unverified figure that it would rest on."""
        pairs = [(limit, name) for name in self.unverified for limit in self.LIMITS.get(name, ())]
        return dict(reversed(pairs))


class CortexMTarget(Documented):
    """A microcontroller: its real flash and RAM are enforced by the linker and an MPU region."""

    LIMITS = {
        "core": ("instructions", "latency_ms"),
        "clock_hz": ("latency_ms",),
        "flash": ("flash_bytes",),
        "ram": ("ram_bytes",),
        "flash_wait_states": ("latency_ms",),
        "flash_cache": ("latency_ms",),
        "multiplier": ("latency_ms",),
    }

    kind: Literal["cortex_m"]
    core: Literal["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
    extensions: tuple[Literal["dsp", "fpu", "mve"], ...] = ()
    chip: str = ""
    flash: Region = Field(description="holds code and weights")
    ram: Region = Field(description="holds the stack, the arena and all other data")
    regions: dict[str, Region] = Field({}, description="memory that the chip has and the firmware leaves free")
    stack_bytes: int = Field(2048, ge=512)
    flash_wait_states: int = Field(0, ge=0, description="at clock_hz, in cycles of the core")
    flash_cache_lines: int = Field(0, ge=0, le=64, description="data lines that the chip caches; 0 counts on no cache")
    flash_line_bytes: int = Field(16, ge=4, description="a power of two")
    machine: str = Field("", description="QEMU machine; without it the usual one of the core")
    engine: Literal["repedge", "tvm"] = Field("repedge", description="whose kernels the firmware holds")

    @model_validator(mode="before")
    @classmethod
    def _usual_machine(cls, content: Any) -> Any:
        """Without `machine`: the core's usual one, with the regions where it has memory."""
        machine = MACHINES.get(str(content.get("core"))) if isinstance(content, dict) else None
        if machine is None or content.get("machine"):
            return content
        origins = {"flash": machine.flash_origin, "ram": machine.ram_origin}
        moved = {
            key: {"emulated_origin": origin} | content[key]
            for key, origin in origins.items()
            if isinstance(content.get(key), dict)
        }
        return content | moved | {"machine": machine.name}

    @model_validator(mode="before")
    @classmethod
    def _usual_extensions(cls, content: Any) -> Any:
        """Without `extensions`: all that the core can have."""
        usual = EXTENSIONS.get(str(content.get("core"))) if isinstance(content, dict) else None
        return content if usual is None else {"extensions": usual} | content

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = (
            name_problem(self.regions),
            memory_problem({"flash": self.flash, "ram": self.ram, **self.regions}),
            extensions_problem(self.core, self.extensions),
            stack_problem(self.stack_bytes, self.ram),
            line_problem(self.flash_line_bytes),
        )
        found = [problem for problem in problems if problem]
        if found:
            raise ValueError("\n  ".join(found))
        return self

    def figures(self) -> tuple[str, ...]:
        """The cache's lines are a figure where they are counted on, the multiplier where a core has two kinds of it."""
        absent = {"flash_cache": not self.flash_cache_lines, "multiplier": self.core != "cortex-m0plus"}
        return (*(name for name in self.LIMITS if not absent.get(name)), *self.regions)

    @property
    def link_flash_bytes(self) -> int:
        """Flash the emulated image is linked with: the chip's, or as much of it as the machine has."""
        machine = MACHINES[self.core]
        return min(
            self.flash.size_bytes, machine.flash_bytes if machine.name == self.machine else self.flash.size_bytes
        )

    @property
    def link_ram_bytes(self) -> int:
        """The same of RAM."""
        machine = MACHINES[self.core]
        return min(self.ram.size_bytes, machine.ram_bytes if machine.name == self.machine else self.ram.size_bytes)


class CortexATarget(Documented):
    """An ARM Linux core: kernels by TVM, run by a user-mode emulator. Latency only as instructions over an IPC range."""

    LIMITS = {
        "cpu": ("instructions", "latency_ms"),
        "clock_hz": ("latency_ms",),
        "instructions_per_cycle": ("latency_ms",),
    }

    kind: Literal["cortex_a"]
    cpu: str = Field(description="-mcpu of QEMU, of the C compiler and of LLVM")
    triple: str
    features: tuple[str, ...] = ()
    scheduler_cpu: str = Field("", description="-mcpu of LLVM instead, a core of the same instructions")
    instructions_per_cycle_low: float = Field(gt=0)
    instructions_per_cycle_high: float = Field(gt=0)
    compiler: str = Field(description="cross compiler, e.g. aarch64-linux-gnu-gcc")
    compiler_flags: tuple[str, ...] = ()
    emulator: str = Field(description="QEMU user-mode program, e.g. qemu-aarch64")
    sysroot: str

    @property
    def vector(self) -> VectorName:
        """The vector instructions that its convolutions are scheduled for."""
        if "+neon" not in self.features:
            return "portable"
        if not self.triple.startswith("aarch64"):
            return "neon32"
        return "neon_dot" if "+dotprod" in self.features else "neon"


class EthosUTarget(Documented):
    """An Arm Ethos-U NPU: compiled and decoded by Vela, never executed here."""

    LIMITS = {"clock_hz": ("latency_ms",)}

    kind: Literal["ethos_u"]
    accelerator: str = Field(description="Vela --accelerator-config")
    system_config: str
    memory_mode: str


Target = CortexMTarget | CortexATarget | EthosUTarget
SECTIONS: dict[str, type[Target]] = {"cortex_m": CortexMTarget, "cortex_a": CortexATarget, "ethos_u": EthosUTarget}


def target_names() -> list[str]:
    """Names of all targets that ship with the product."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_target(name: str) -> Target:
    """The target of that name, or of the YAML file at that path; `tvm-` before a microcontroller's asks for TVM's kernels."""
    if name.startswith(TVM_PREFIX):
        return _with_tvm(name)
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(_no_such_target(name))
    content = read_yaml_mapping(path, "target file", "repedge targets --help shows an example")
    section = SECTIONS.get(str(content.get("kind")))
    if section is None:
        raise ConfigError(_no_such_kind(path, content))
    try:
        return section.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        raise ConfigError(f"target file {path}:\n{explain(error, section)}") from error


def _no_such_kind(path: Path, content: dict[str, Any]) -> str:
    if "kind" not in content:
        return f"target file {path}:\n  kind: missing; allowed are {', '.join(SECTIONS)}; add this key"
    close = difflib.get_close_matches(str(content["kind"]), SECTIONS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"target file {path}:\n  kind: found {content['kind']!r}; {hint}allowed are {', '.join(SECTIONS)}"


def _with_tvm(name: str) -> CortexMTarget:
    """A microcontroller's target whose firmware holds TVM's kernels."""
    target = load_target(name.removeprefix(TVM_PREFIX))
    if not isinstance(target, CortexMTarget):
        raise ConfigError(
            f"target {name}: {target.name} is no microcontroller; {TVM_PREFIX} stands before targets of kind cortex_m; "
            f"give {target.name}"
        )
    return target.model_copy(update={"name": f"{TVM_PREFIX}{target.name}", "engine": "tvm"})


def _no_such_target(name: str) -> str:
    names = target_names()
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    return (
        f"target {name}: no such target; {hint}repedge targets lists the {len(names)} that are allowed, "
        "and a board of your own is the path of a .yaml file"
    )
