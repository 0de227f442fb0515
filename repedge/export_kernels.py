"""Which kernels an exported library holds: the plan for a core, the runtime's files for it, and a guard against another core.

`portable` runs everywhere and is the default; the fast kernels need the core's instructions, so a library that holds
them refuses, at compile time and by name, to be built for a core without.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from convert.integer_model import IntegerModel
from convert.kernels import Prefer, choose_kernels
from convert.kernels_dsp import DSP_CORES
from convert.kernels_mve import CORES as MVE_CORES
from convert.memory_plan import MemoryPlan, plan_memory
from deploy.cortex_m import RamLimits, target_plan
from deploy.machines import MACHINES
from deploy.targets import CortexMTarget, load_target
from repedge.recipe import Recipe
from train.errors import ConfigError

PORTABLE = "portable"
CORES = (PORTABLE, *MACHINES)
SOURCES = ("*.c", "*.h", "*.S", "*.inc")
FOREIGN_CORES = {"esp-idf": "RISC-V and Xtensa"}  # frameworks without Cortex-M
GUARD = """\
#if !defined({macro}) || !({macro})
#error "exported for {core}: the compiler's target has no {what}; export with --core portable"
#endif
"""


def check_core(core: str, form: str) -> str:
    """The core's full name; `m4` is short for `cortex-m4`."""
    name = core if core in CORES else f"cortex-{core}"
    if name not in CORES:
        close = difflib.get_close_matches(name, CORES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"--core {core}: no such core; {hint}allowed are {', '.join(CORES)}")
    if name != PORTABLE and form in FOREIGN_CORES:
        raise ConfigError(
            f"--core {core}: {form} builds for {FOREIGN_CORES[form]}, allowed is {PORTABLE}; leave --core out"
        )
    return name


def export_plan(
    model: IntegerModel, core: str, recipe: Recipe | None, *, prefer: Prefer | None = None, arena: int | None = None
) -> MemoryPlan:
    """Kernels and arena for the core: those of the run's own target of that core, unless the caller says what matters."""
    if core == PORTABLE:
        return plan_memory(model)
    if recipe is not None and prefer is None and arena is None:
        for target in map(load_target, recipe.deploy.targets):
            if isinstance(target, CortexMTarget) and target.core == core:
                limits = recipe.budget.targets.get(target.name)
                return target_plan(
                    model,
                    target,
                    prefer=recipe.deploy.prefer,
                    limits=RamLimits(recipe.deploy.ram_limit, limits.ram_limit_bytes if limits else None),
                )
    plan = plan_memory(model, choose_kernels(model, core, prefer=prefer or "speed", ram_limit=arena))
    if arena is not None and plan.arena_bytes > arena:
        raise ConfigError(
            f"--arena {arena}: these kernels need {plan.arena_bytes} bytes, the fewest there are on {core}; "
            f"allowed is {plan.arena_bytes} or more; give that, or convert a smaller net"
        )
    return plan


def runtime_files(firmware: Path, core: str) -> list[Path]:
    """The runtime's sources and headers; a core's own file takes the place of the portable one of that name."""
    folders = [firmware / "src", firmware / "include"]
    if core in DSP_CORES:
        folders.append(firmware / "src/armv7em")
    elif core in MVE_CORES:
        folders.append(firmware / "src/armv81m_mve")
    files = {path.name: path for folder in folders for pattern in SOURCES for path in folder.glob(pattern)}
    return [files[name] for name in sorted(files)]


def core_guard(core: str) -> str:
    """Lines of C that stop a compilation for a core which lacks the kernels' instructions; empty where none can."""
    if core in DSP_CORES:
        return GUARD.format(macro="__ARM_FEATURE_DSP", core=core, what="DSP extension")
    if core in MVE_CORES:
        return GUARD.format(macro="__ARM_FEATURE_MVE", core=core, what="vector extension (MVE)")
    return ""


def example_core(core: str) -> str:
    """What the CMake example is built for unless told otherwise: the core, or with portable kernels this machine."""
    return "" if core == PORTABLE else core


def kernel_summary(plan: MemoryPlan) -> str:
    """Each layer's kernel, for the model card: names with how many layers take them, in the net's order."""
    names = [placement.choice.kernel.name for placement in plan.placements if placement.choice]
    return ", ".join(f"{name} ({names.count(name)})" for name in dict.fromkeys(names))
