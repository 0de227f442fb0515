"""`repedge export`: a run's model as a C library for a build system, with an example that proves itself and a model card.

    OUT/src/        model.c, model_data.[ch], the runtime            OUT/include/model.h   the whole interface
    OUT/README.md   how to use it, model card                        the rest              the format's own files, example

Tables and kernels are those of the chosen core (`export_kernels`). Text files come from `export_templates/`, where
`@NAME@`, also in a file's name, stands for a value of `export_values`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from convert.c_reader import verify_c_model
from convert.c_source import write_c_model
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.kernels import Prefer
from convert.memory_plan import MemoryPlan
from deploy.machines import MACHINES
from deploy.result import ConvertedModel, load_converted
from repedge.export_kernels import PORTABLE, check_core, core_guard, example_core, export_plan, runtime_files
from repedge.export_prefix import DEFAULT, check_prefix, prefix_files
from repedge.export_values import example_image, export_values
from repedge.recipe import load_recipe
from repedge.stages import RECIPE_FILE, fresh_folder
from train.artefact import MANIFEST_NAME, read_manifest, sha256_file, write_text
from train.errors import ConfigError

TEMPLATES = Path(__file__).parent / "export_templates"
FIRMWARE = Path(__file__).resolve().parents[1] / "firmware_stub"
PORT = ("startup.c", "fault.c", "mpu.c", "semihosting.c", "semihosting.h", "board.h", "link.ld.in")
# format -> where the interface's header goes, and where the example's two headers go
FORMATS = {
    "cmake": ("include", "example"),
    "zephyr": ("include", "samples/classify/src"),
    "arduino": ("src", "examples/classify"),
    "platformio": ("include", "examples/classify/src"),
    "esp-idf": ("include", "examples/classify/main"),
    "cmsis-pack": ("include", "examples/classify"),
}
MARKER = "repedge-export.txt"


def export_run(
    run: Path,
    form: str,
    out: Path,
    *,
    core: str = PORTABLE,
    prefix: str = DEFAULT,
    prefer: Prefer | None = None,
    arena: int | None = None,
) -> list[Path]:
    """Write the library of a run's model to `out` and return its files, sorted.

    `core` names the core whose kernels it holds; `prefer` and `arena` (bytes, at most) choose among them. Without these
    two they are the kernels that the run deployed to its own target of that core. `prefix` is what its names begin
    with. An earlier export is replaced; a folder of other things is refused, always.
    """
    if form not in FORMATS:
        raise ConfigError(f"--as {form}: no such format; allowed are {', '.join(FORMATS)}")
    if not (run / "convert").is_dir():
        raise ConfigError(
            f"{run}: holds no converted model; allowed is a finished run; make one with repedge run RECIPE --out {run}"
        )
    core, prefix = check_core(core, form), check_prefix(prefix)
    out = out.resolve()
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file()):
        raise ConfigError(
            f"{out}: holds what no export wrote; allowed is a new folder or one of an earlier export; name one"
        )
    if (run / "convert" / MANIFEST_NAME).is_file():
        read_manifest(run / "convert", verify=True)
    converted = load_converted(run / "convert")
    recipe = load_recipe(run / RECIPE_FILE) if (run / RECIPE_FILE).is_file() else None
    plan = export_plan(converted.model, core, recipe, prefer=prefer, arena=arena)
    values = export_values(run, converted, plan, core, prefix=prefix) | {
        "FORMAT": form, "FOLDER": out.name, "GUARD": core_guard(core), "EXAMPLE_CORE": example_core(core),
        "MACHINE": "" if core == PORTABLE else MACHINES[core].name,
    }  # fmt: skip
    values["USE"] = fill(_use_template(form, core).read_text(), values).rstrip()
    with fresh_folder(out) as folder:
        _write_library(converted, folder, FORMATS[form][0], values, plan=plan, core=core)
        for part in {"src", FORMATS[form][0]}:
            prefix_files(folder / part, prefix)
        _write_format(converted, folder, form, values, prefix=prefix)
        write_text(folder / MARKER, f"written by repedge export --as {form} --core {core}\n")
    return sorted(path for path in out.rglob("*") if path.is_file())


def _use_template(form: str, core: str) -> Path:
    """The format's own words on how to build; `USE.core` where they differ for kernels of a core."""
    own = TEMPLATES / form / "USE.core"
    return own if core != PORTABLE and own.is_file() else TEMPLATES / form / "USE"


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every `@NAME@` replaced.

    >>> fill("@WHO@ writes @WHAT@", {"WHO": "repedge", "WHAT": "C"})
    'repedge writes C'
    """
    return re.sub(r"@([A-Z_0-9]+)@", lambda match: values[match[1]], template)


def _write_library(
    converted: ConvertedModel, folder: Path, include: str, values: Mapping[str, str], *, plan: MemoryPlan, core: str
) -> None:
    """Tables, read back and found equal to the model, runtime and interface."""
    source = folder / "src"
    write_c_model(converted.model, source, source_hash=sha256_file(converted.folder / MODEL_FILE), plan=plan)
    verify_c_model(converted.model, source, plan)
    for path in runtime_files(FIRMWARE, core):
        text = path.read_text()
        # not every build system hands definitions to a library
        marks = "#define REPEDGE_NO_PROF_MARKS\n" if path.name == "repedge_prof.h" else ""
        write_text(source / path.name, marks + text)
    write_text(source / "model.c", fill((TEMPLATES / "common/model.c").read_text(), values))
    write_text(folder / include / "model.h", fill((TEMPLATES / "common/model.h").read_text(), values))
    write_text(folder / "README.md", fill((TEMPLATES / "common/README.md").read_text(), values))
    shutil.copy(FIRMWARE.parent / "LICENSE", folder / "LICENSE")


def _write_format(
    converted: ConvertedModel, folder: Path, form: str, values: Mapping[str, str], *, prefix: str
) -> None:
    """The build system's files and the example."""
    templates = TEMPLATES / form
    values = {**values, "PACK_SOURCES": "".join(map(_pack_source, _sources(folder)))}
    for path in sorted(path for path in templates.rglob("*") if path.is_file() and path.stem != "USE"):
        name = fill(path.relative_to(templates).as_posix(), values)
        write_text(folder / name, fill(path.read_text(), values))
    example = folder / FORMATS[form][1]
    shutil.copy(TEMPLATES / "common/classify.h", example / "classify.h")
    write_text(example / "example_image.h", example_image(converted.vectors))
    prefix_files(example, prefix)
    if form == "cmake":
        shutil.copy(FIRMWARE / "cmake/arm-none-eabi.cmake", example / "arm-none-eabi.cmake")
        (example / "cortex_m").mkdir()
        for name in PORT:
            shutil.copy(FIRMWARE / "port/cortex_m" / name, example / "cortex_m" / name)


def _sources(folder: Path) -> list[str]:
    """What is compiled, by name."""
    return sorted(path.name for path in (folder / "src").iterdir() if path.suffix in (".c", ".S"))


def _pack_source(name: str) -> str:
    """A pack's entry of one source."""
    language = ' language="asm"' if name.endswith(".S") else ""
    return f'        <file category="source"{language} name="src/{name}"/>\n'
