from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.machines import MACHINES
from repedge.cli import EXPORT_FORMATS, main
from repedge.export import FORMATS
from repedge.export_kernels import CORES
from tests.need import need
from tests.repedge.exported_run import write_run
from tests.repedge.framework_rules import RULES
from train.artefact import write_manifest

RISCV32 = Path(__file__).parent / "riscv32"
# what stands in for a framework: extra files, then the compiler's arguments after the library's
STAND_INS = {
    "cmsis-pack": ({}, ["gcc", "examples/classify/main.c"]),
    "platformio": ({}, ["gcc", "examples/classify/src/main.c"]),
    "zephyr": ({"zephyr/sys/printk.h": "#include <stdio.h>\n#define printk printf\n"}, ["gcc", "samples/classify/src/main.c"]),
    "esp-idf": (
        {"start.c": "void app_main(void);\nint main(void) { app_main(); return 0; }\n"},
        ["gcc", "examples/classify/main/main.c", "stand_in/start.c"],
    ),
    "arduino": (
        {
            "start.cpp": "#include <cstdio>\n"
            "struct { void begin(int) {} explicit operator bool() { return true; } void print(const char *t) { fputs(t, stdout); } } Serial;\n"
            '#include "classify.ino"\nint main() { setup(); loop(); }\n'
        },
        ["g++", "-Iexamples/classify", "stand_in/start.cpp"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "tiny")


@pytest.fixture
def exported(run_folder, tmp_path):
    def export(form: str, *options: str):
        assert main(["export", str(run_folder), str(tmp_path / form), "--as", form, *options]) == 0
        return tmp_path / form

    return export


def shell(*command, cwd) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.parametrize("form", FORMATS)
def test_no_placeholder_is_left(exported, form):
    folder = exported(form)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".md", ".h", ".c", ".json", ".yml", ".yaml", ".properties", ".ino"):
            assert not re.search(r"@[A-Z_]+@", path.read_text()), path


def test_the_interface_needs_stdint_and_stddef_only(exported):
    header = (exported("cmake") / "include/model.h").read_text()
    assert re.findall(r"#include (.*)", header) == ["<stddef.h>", "<stdint.h>"]


def test_the_interface_compiles_alone_as_c_and_as_cpp(exported, tmp_path):
    need("gcc", "g++")
    folder = exported("cmake")
    functions = re.findall(r"^\S.*?(model_\w+)\(", (folder / "include/model.h").read_text(), re.MULTILINE)
    assert functions == ["model_arena_bytes", "model_init", "model_input", "model_invoke", "model_output"]
    for compiler, standard, name in (("gcc", "c11", "a.c"), ("g++", "c++11", "a.cpp")):
        (tmp_path / name).write_text(
            '#include "model.h"\nMODEL_ALIGN static uint8_t arena[MODEL_ARENA_BYTES];\nvoid *of(void) { return arena; }\n'
        )
        shell(
            compiler,
            f"-std={standard}",
            "-Wall",
            "-Werror",
            "-ffreestanding",
            f"-I{folder}/include",
            "-c",
            name,
            cwd=tmp_path,
        )


@pytest.mark.parametrize("standard", ["c99", "c11", "c++98", "c++17"])
def test_a_program_of_the_interface_compiles_without_a_warning(exported, tmp_path, standard):
    compiler, name = ("g++", "a.cpp") if "+" in standard else ("gcc", "a.c")
    need(compiler)
    (tmp_path / name).write_text(
        '#include "model.h"\nMODEL_ALIGN static uint8_t arena[MODEL_ARENA_BYTES];\nstatic model_t model;\n'
        "int main(void) { return model_init(&model, arena, sizeof arena) == MODEL_OK ? 0 : 1; }\n"
    )
    options = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{exported('cmake')}/include"]
    shell(compiler, *options, "-c", name, cwd=tmp_path)


TWO_MODELS = """\
#include <stdio.h>
#include "digits.h"
#include "model.h"
int classify_digits(void);
int classify_model(void);
int main(void) { return DIGITS_API_VERSION == MODEL_API_VERSION ? classify_digits() + classify_model() : 1; }
"""
ONE_OF_TWO = """\
#include <stdio.h>
#include "classify.h"
static void print(const char *text) {{ fputs(text, stdout); }}
int classify_{name}(void) {{ return classify(print); }}
"""


def test_two_models_fit_into_one_program(run_folder, tmp_path):
    need("gcc")
    for name, core in (("digits", "portable"), ("model", "m3")):
        options = ["--as", "cmake", "--core", core, "--prefix", name]
        assert main(["export", str(run_folder), str(tmp_path / name), *options]) == 0
        (tmp_path / f"{name}.c").write_text(ONE_OF_TWO.format(name=name))
    (tmp_path / "main.c").write_text(TWO_MODELS)
    for name in ("digits", "model"):
        includes = [f"-I{tmp_path / name / folder}" for folder in ("include", "src", "example")]
        shell("gcc", "-std=c11", *includes, "-c", *map(str, (tmp_path / name / "src").glob("*.c")), cwd=tmp_path)
        shell("gcc", "-std=c11", *includes, "-c", f"{name}.c", "-o", f"main_{name}.o", cwd=tmp_path)
    shell("gcc", "-Idigits/include", "-Imodel/include", "-c", "main.c", cwd=tmp_path)
    # objects, not archives: every symbol defined twice is an error
    shell("gcc", *map(str, tmp_path.glob("*.o")), "-o", "both", cwd=tmp_path)
    assert shell("./both", cwd=tmp_path).count("PASS\n") == 2


@pytest.mark.parametrize("core", ["m4", "m55"])
def test_a_prefix_is_on_every_symbol_and_file(exported, core):
    need("cmake", "make", "arm-none-eabi-gcc", "qemu-system-arm")
    folder = exported("cmake", "--core", core, "--prefix", "model_a")
    assert run_under_qemu(folder, f"cortex-{core}").endswith("PASS\n")
    symbols = shell("arm-none-eabi-nm", "-g", "--defined-only", "build/librepedge_model_a.a", cwd=folder)
    names = [line.split()[2] for line in symbols.splitlines() if len(line.split()) == 3]
    names += [path.name for part in ("src", "include") for path in (folder / part).iterdir()]
    assert names and all(name.startswith("model_a") and not name.startswith("model_a_a_") for name in names)
    assert "`model_a_init`" in (folder / "README.md").read_text()


@pytest.mark.parametrize(("prefix", "message"), [("My net", "a letter first"), ("string", "the C library's string.h")])
def test_a_prefix_that_cannot_be_is_refused(run_folder, tmp_path, capsys, prefix, message):
    assert main(["export", str(run_folder), str(tmp_path / "out"), "--as", "cmake", "--prefix", prefix]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_converted_model_says_how_to_make_one(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--as", "cmake"]) == 2
    assert "repedge run RECIPE --out" in capsys.readouterr().err


def test_the_model_card_says_what_was_measured(exported):
    card = (exported("cmake") / "README.md").read_text()
    assert "97.50 % of 40 test images" in card
    assert "1234 parameters in 4 to 8 bits" in card
    assert "digits: 100 train, 40 test images" in card


def test_the_cmake_example_passes_on_this_machine(exported):
    need("cmake", "make", "cc")
    folder = exported("cmake")
    shell("cmake", "-S", ".", "-B", "build", cwd=folder)
    shell("cmake", "--build", "build", cwd=folder)
    output = shell("build/example", cwd=folder)
    assert re.fullmatch(r"class \S+\nPASS\n", output)


def run_under_qemu(folder, core) -> str:
    shell("cmake", "-S", ".", "-B", "build", f"-DEXAMPLE_CORE={core}", cwd=folder)
    shell("cmake", "--build", "build", cwd=folder)
    command = ["qemu-system-arm", "-M", MACHINES[core].name, "-display", "none", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", "build/example.elf"]
    # QEMU prints what the firmware says to stderr
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("kernels", ["portable", "own"])
def test_the_cmake_example_passes_on_an_emulated_core(exported, core, kernels):
    need("cmake", "make", "arm-none-eabi-gcc", "qemu-system-arm")
    folder = exported("cmake", *(["--core", core] if kernels == "own" else []))
    assert re.fullmatch(r"class \S+\nPASS\n", run_under_qemu(folder, core))


@pytest.mark.parametrize(("core", "kernel"), [("m4", "dsp_"), ("m7", "dsp_"), ("m33", "dsp_"), ("m55", "mve_"), ("m0plus", "portable")])  # fmt: skip
def test_an_export_for_a_core_holds_its_kernels(exported, core, kernel):
    folder = exported("cmake", "--core", core)
    assert f"| kernels | for cortex-{core}: {kernel}" in (folder / "README.md").read_text()


def test_fast_kernels_refuse_a_core_without_their_instructions(exported):
    need("arm-none-eabi-gcc")
    folder = exported("platformio", "--core", "m4")
    command = [
        "arm-none-eabi-gcc",
        "-mcpu=cortex-m3",
        "-mthumb",
        "-Iinclude",
        "-Isrc",
        "-c",
        "src/model.c",
        "-o",
        "m.o",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode != 0 and "has no DSP extension" in done.stderr


def test_every_format_holds_the_same_sources_for_a_core(exported):
    sources = []
    for form in ("cmake", "zephyr", "platformio", "cmsis-pack", "arduino"):
        folder = exported(form, "--core", "m55")
        sources.append({path.name: path.read_bytes() for path in (folder / "src").iterdir() if path.name != "model.h"})
    assert all(other == sources[0] for other in sources)


def test_the_arena_is_kept_to_or_the_smallest_one_is_said(exported, run_folder, tmp_path, capsys):
    header = (exported("cmake", "--core", "m4", "--arena", "20000") / "include/model.h").read_text()
    assert int(re.search(r"MODEL_ARENA_BYTES (\d+)u", header)[1]) <= 20000
    assert main(["export", str(run_folder), str(tmp_path / "x"), "--as", "cmake", "--core", "m4", "--arena", "64"]) == 2
    assert re.search(r"these kernels need \d+ bytes", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "cmake", "--core", "m5"], "did you mean cortex-m55"),
        (["--as", "esp-idf", "--core", "m4"], "esp-idf builds for RISC-V and Xtensa, allowed is portable"),
    ],
)
def test_a_core_that_cannot_be_is_refused(run_folder, tmp_path, capsys, arguments, message):
    assert main(["export", str(run_folder), str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_esp_idf_example_passes_on_an_emulated_riscv32(exported):
    need("riscv64-unknown-elf-gcc", "qemu-system-riscv32")
    folder = exported("esp-idf")
    shutil.copytree(RISCV32, folder / "stand_in")
    sources = [*sorted((folder / "src").glob("*.c")), folder / "examples/classify/main/main.c"]
    sources += sorted((folder / "stand_in").glob("*.[cS]"))
    command = [
        "riscv64-unknown-elf-gcc",
        "-march=rv32imc",
        "-mabi=ilp32",
        "-std=c11",
        "-O3",
        "-ffreestanding",
        "-nostdlib",
    ]
    command += ["-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Werror", "-Istand_in", "-Iinclude", "-Isrc"]
    command += ["-Iexamples/classify/main", "-T", "stand_in/link.ld", *map(str, sources), "-lgcc", "-o", "example.elf"]
    shell(*command, cwd=folder)
    machine = ["qemu-system-riscv32", "-M", "virt", "-bios", "none", "-display", "none", "-monitor", "none"]
    output = shell(*machine, "-serial", "stdio", "-kernel", "example.elf", cwd=folder)
    assert re.fullmatch(r"class \S+\r?\nPASS\r?\n", output)


@pytest.mark.parametrize("form", STAND_INS)
def test_an_example_passes_in_a_stand_in_build(exported, form):
    files, (compiler, *example) = STAND_INS[form]
    need("gcc", compiler)
    folder = exported(form)
    for name, text in files.items():
        path = folder / "stand_in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "objects").mkdir()
    sources = [str(path) for path in sorted((folder / "src").glob("*.c"))]
    shell("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I../include", "-c", *sources, cwd=folder / "objects")
    objects = [f"objects/{path.name}" for path in sorted((folder / "objects").glob("*.o"))]
    shell(compiler, "-Istand_in", "-Iinclude", "-Isrc", *example, *objects, "-o", "example", cwd=folder)
    assert shell("./example", cwd=folder).endswith("\nPASS\n")


@pytest.mark.parametrize("form", RULES)
@pytest.mark.parametrize("options", [(), ("--core", "m4"), ("--prefix", "digits_a")])
def test_metadata_keep_the_rules_of_the_framework(exported, form, options):
    folder = exported(form, *(() if form == "esp-idf" and "--core" in options else options))
    assert RULES[form](folder) == []


def test_a_run_named_by_a_number_stays_a_text_in_yaml(run_folder, tmp_path):
    run = tmp_path / "2024"
    shutil.copytree(run_folder, run)
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps(report | {"name": "2024"}))
    assert main(["export", str(run), str(tmp_path / "out"), "--as", "zephyr"]) == 0
    assert RULES["zephyr"](tmp_path / "out") == []


@pytest.mark.parametrize(
    ("form", "file", "change", "problem"),
    [
        ("arduino", "library.properties", ("category=Data Processing", "category=Vision"), "category"),
        ("arduino", "library.properties", ("url=urn:repedge:repedge-tiny-net", "url="), "url: no URI"),
        ("platformio", "library.json", ("repedge-tiny-net", "Repedge_net"), "name"),
        ("zephyr", "zephyr/module.yml", ("kconfig:", "kconfg:"), "module.yml: build.kconfg"),
        ("esp-idf", "idf_component.yml", ('"1.0.0"', '"1.0"'), "version"),
        ("cmsis-pack", "RepEdge.repedge_tiny_net.pdsc", ("<name>repedge", "<name>other"), "the file is not named vendor.name.pdsc"),
    ],
)  # fmt: skip
def test_the_rules_find_a_mistake(exported, form, file, change, problem):
    path = exported(form) / file
    path.write_text(path.read_text().replace(*change))
    assert problem in RULES[form](path.parents[len(Path(file).parts) - 1])


def test_an_earlier_export_is_replaced_and_another_folder_refused(run_folder, exported, tmp_path, capsys):
    folder = exported("cmake")
    (folder / "old.txt").write_text("")
    exported("cmake")
    assert not (folder / "old.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    assert main(["export", str(run_folder), str(tmp_path / "mine"), "--as", "cmake"]) == 2
    assert "holds what no export wrote" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_the_command_line_offers_every_format():
    assert tuple(FORMATS) == EXPORT_FORMATS


def test_every_emulated_core_can_be_exported_for():
    assert set(CORES) == {"portable", *MACHINES}


@pytest.mark.parametrize("content", [b"", b"\x00" * 100])
def test_an_altered_model_is_not_exported(tmp_path, capsys, content):
    run = write_run(tmp_path / "run")
    write_manifest(run / "convert", stage="convert", key="key")
    (run / "convert" / "vectors.npz").write_bytes(content)
    assert main(["export", str(run), str(tmp_path / "lib"), "--as", "cmake"]) == 2
    assert "vectors.npz: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
