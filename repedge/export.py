"""`repedge export`: a run's model as a C library for a build system, with an example that proves itself and a model card.

    OUT/src/        model.c, model_data.[ch], the runtime            OUT/include/model.h   the whole interface
    OUT/README.md   how to use it, model card                        the rest              the format's own files, example

Tables and kernels are the portable ones, which run on any core. Text files come from `export_templates/`, where `@NAME@`
stands for a value of `export_values`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from convert.c_source import write_c_model
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from deploy.result import ConvertedModel, load_converted
from repedge.export_values import example_image, export_values
from repedge.stages import fresh_folder
from train.artefact import sha256_file, write_text
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


def export_run(run: Path, form: str, out: Path) -> list[Path]:
    """Write the library of a run's model to `out` and return its files, sorted.

    An earlier export is replaced; a folder of other things is refused, always.
    """
    if form not in FORMATS:
        raise ConfigError(f"--as {form}: no such format; allowed are {', '.join(FORMATS)}")
    out = out.resolve()
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file()):
        raise ConfigError(
            f"{out}: holds what no export wrote; allowed is a new folder or one of an earlier export; name one"
        )
    converted = load_converted(run / "convert")
    values = export_values(run, converted) | {"FORMAT": form, "FOLDER": out.name}
    values["USE"] = fill((TEMPLATES / form / "USE").read_text(), values).rstrip()
    with fresh_folder(out) as folder:
        _write_library(converted, folder, FORMATS[form][0], values)
        _write_format(converted, folder, form, values)
        write_text(folder / MARKER, f"written by repedge export --as {form}\n")
    return sorted(path for path in out.rglob("*") if path.is_file())


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every `@NAME@` replaced.

    >>> fill("@WHO@ writes @WHAT@", {"WHO": "repedge", "WHAT": "C"})
    'repedge writes C'
    """
    return re.sub(r"@([A-Z_0-9]+)@", lambda match: values[match[1]], template)


def _write_library(converted: ConvertedModel, folder: Path, include: str, values: Mapping[str, str]) -> None:
    """Tables, runtime and interface."""
    source = folder / "src"
    write_c_model(converted.model, source, source_hash=sha256_file(converted.folder / MODEL_FILE))
    for path in sorted([*(FIRMWARE / "src").glob("*.[ch]"), *(FIRMWARE / "include").glob("*.h")]):
        text = path.read_text()
        # not every build system hands definitions to a library
        marks = "#define REPEDGE_NO_PROF_MARKS\n" if path.name == "repedge_prof.h" else ""
        write_text(source / path.name, marks + text)
    write_text(source / "model.c", fill((TEMPLATES / "common/model.c").read_text(), values))
    write_text(folder / include / "model.h", fill((TEMPLATES / "common/model.h").read_text(), values))
    write_text(folder / "README.md", fill((TEMPLATES / "common/README.md").read_text(), values))
    shutil.copy(FIRMWARE.parent / "LICENSE", folder / "LICENSE")


def _write_format(converted: ConvertedModel, folder: Path, form: str, values: Mapping[str, str]) -> None:
    """The build system's files and the example."""
    templates = TEMPLATES / form
    sources = sorted(path.name for path in (folder / "src").glob("*.c"))
    values = {
        **values,
        "PACK_SOURCES": "".join(f'        <file category="source" name="src/{name}"/>\n' for name in sources),
    }
    for path in sorted(path for path in templates.rglob("*") if path.is_file() and path.name != "USE"):
        text = path.read_text()
        # CMake has an @…@ of its own
        write_text(folder / path.relative_to(templates), text if form == "cmake" else fill(text, values))
    example = folder / FORMATS[form][1]
    shutil.copy(TEMPLATES / "common/classify.h", example / "classify.h")
    write_text(example / "example_image.h", example_image(converted.vectors))
    if form == "cmake":
        shutil.copy(FIRMWARE / "cmake/arm-none-eabi.cmake", example / "arm-none-eabi.cmake")
        (example / "cortex_m").mkdir()
        for name in PORT:
            shutil.copy(FIRMWARE / "port/cortex_m" / name, example / "cortex_m" / name)
