from __future__ import annotations

import json
import re
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.reference import predict
from convert.reference import run as run_reference
from convert.vectors import FILE_NAME as VECTORS_FILE
from convert.vectors import Vectors, save_vectors
from deploy.machines import MACHINES
from repedge.cli import EXPORT_FORMATS, main
from repedge.export import FORMATS
from tests.need import need
from tests.random_models import random_images, random_model

REPORT = {
    "name": "Tiny net",
    "seed": 7,
    "git_commit": "",
    "accuracy": {"numpy": {"top1": 97.5, "images": 40}},
    "dataset": {"name": "digits", "split_sizes": {"train": 100, "test": 40}},
    "model": {"parameters": 1234, "macs": 5678, "bit_widths": [8, 4, 8]},
}
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
    folder = tmp_path_factory.mktemp("run")
    model = random_model(1)
    images = random_images(np.random.default_rng(2), 4, model.input_hwc)
    logits = run_reference(model, images)
    (folder / "convert").mkdir()
    save_integer_model(model, folder / "convert" / MODEL_FILE)
    save_vectors(Vectors(images, predict(logits).astype(np.uint8), logits), folder / "convert" / VECTORS_FILE)
    (folder / "report.json").write_text(json.dumps(REPORT))
    return folder


@pytest.fixture
def exported(run_folder, tmp_path):
    def export(form: str):
        assert main(["export", str(run_folder), str(tmp_path / form), "--as", form]) == 0
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


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_the_cmake_example_passes_on_an_emulated_core(exported, core):
    need("cmake", "make", "arm-none-eabi-gcc", "qemu-system-arm")
    folder = exported("cmake")
    shell("cmake", "-S", ".", "-B", "build", f"-DEXAMPLE_CORE={core}", cwd=folder)
    shell("cmake", "--build", "build", cwd=folder)
    command = ["qemu-system-arm", "-M", MACHINES[core].name, "-display", "none", "-monitor", "none", "-serial", "null"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", "build/example.elf"]
    # QEMU prints what the firmware says to stderr
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    assert re.fullmatch(r"class \S+\nPASS\n", done.stdout + done.stderr)


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


def test_manifests_of_the_frameworks_can_be_read(exported):
    library = json.loads((exported("platformio") / "library.json").read_text())
    assert (library["name"], library["headers"]) == ("repedge_tiny_net", "model.h")
    module = yaml.safe_load((exported("zephyr") / "zephyr/module.yml").read_text())
    assert module["build"] == {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"}
    component = yaml.safe_load((exported("esp-idf") / "idf_component.yml").read_text())
    assert component["version"] == library["version"]
    pack = exported("cmsis-pack")
    files = ElementTree.parse(pack / "RepEdge.model.pdsc").findall("components/component/files/file")
    assert len(files) > 8
    assert all((pack / entry.attrib["name"]).exists() for entry in files)
    lines = (exported("arduino") / "library.properties").read_text().splitlines()
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= {line.partition("=")[0] for line in lines}


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
