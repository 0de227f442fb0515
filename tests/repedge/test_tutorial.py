"""docs/tutorial.md, followed word for word: its shell blocks run one after the other, digits standing in for the reader's images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.need import need
from train.digits import load_digits

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial.md"
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """A folder with images as the page asks for, and the command on the path."""
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "make")
    folder = tmp_path_factory.mktemp("tutorial")
    digits = load_digits()
    for split in ("train", "test"):
        images, labels = getattr(digits, f"{split}_images"), getattr(digits, f"{split}_labels")
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / "data/my-images" / split / f"digit-{label}" / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    command = folder / "bin/repedge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m repedge.cli "$@"\n')
    command.chmod(0o755)
    return folder


def test_every_command_of_the_tutorial_works(reader):
    environment = os.environ | {"PATH": f"{reader / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    said = []
    for block in COMMANDS:
        done = subprocess.run(
            ["bash", "-eu", "-c", block], cwd=reader, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        said.append(done.stdout + done.stderr)
    assert "nucleo-l476rg" in said[0]
    assert re.search(r"class digit-\d\nPASS\n", said[-1])
    assert (reader / "runs/first/report.html").is_file()


def test_the_tutorial_has_a_block_for_each_step():
    words = [block.split()[:2] for block in COMMANDS]
    assert words == [
        ["repedge", "targets"],
        ["repedge", "init"],
        ["repedge", "run"],
        ["cat", ">"],
        ["repedge", "export"],
    ]
