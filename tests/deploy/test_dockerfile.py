"""The Dockerfile: pinned, and clean by a linter that is seen to find faults."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
# each breaks the Dockerfile in one place: (what stands there, the fault in its place, hadolint's rule for it)
FAULTS = (
    ("FROM ${BASE}", "FROM debian:latest", "DL3007"),
    ("USER 10001", "RUN apt-get install -y --no-install-recommends zsh", "DL3008"),
    ("USER 10001", "RUN apt-get install -y zsh=5.9-4", "DL3015"),
    ("rm -rf /var/lib/apt/lists/*", "true", "DL3009"),
    ("pip install --no-cache-dir", "pip install", "DL3042"),
    ("WORKDIR /opt/repedge", "WORKDIR opt/repedge", "DL3000"),
    ("USER 10001", "USER root", "DL3002"),
    ('SHELL ["/bin/bash", "-o", "pipefail", "-c"]', "", "DL4006"),
    ("mkdir /out", "mkdir /out $HOME/out", "SC2086"),
)


def hadolint(path: Path) -> list[str]:
    """The rules that a Dockerfile breaks, with no configuration but the file's own."""
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed (make setup)")
    result = subprocess.run([program, "--config", "/dev/null", path], capture_output=True, text=True)
    return re.findall(r"^\S+:\d+ (?:\x1b\[\d+m)*((?:DL|SC)\d+)", result.stdout, re.MULTILINE)


def test_hadolint_finds_nothing_and_is_told_to_overlook_nothing():
    assert hadolint(DOCKERFILE) == []
    assert "hadolint" not in DOCKERFILE.read_text()
    assert not list(ROOT.glob(".hadolint.y*ml"))


@pytest.mark.parametrize(("good", "fault", "rule"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_hadolint_finds_a_fault_put_in(good, fault, rule, tmp_path):
    text = DOCKERFILE.read_text()
    assert good in text
    broken = tmp_path / "Dockerfile"
    broken.write_text(text.replace(good, fault))
    assert rule in hadolint(broken)


def test_make_docker_takes_the_base_by_date_and_digest():
    command = subprocess.run(["make", "-n", "docker"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (base,) = re.findall(r"--build-arg BASE=(\S+) ", command)
    assert re.fullmatch(r"debian:bookworm-20\d{6}-slim@sha256:[0-9a-f]{64}", base)
    assert re.search(r"^ARG BASE=debian:bookworm-slim\nFROM \$\{BASE\}$", DOCKERFILE.read_text(), re.MULTILINE)


def test_docker_stop_is_the_interruption_that_the_command_answers():
    assert re.search(r"^STOPSIGNAL SIGINT$", DOCKERFILE.read_text(), re.MULTILINE)  # as PID 1 it would not hear SIGTERM


def test_no_recommended_package_and_no_cache_stays_in_the_image():
    # hadolint does not look behind xargs
    commands = DOCKERFILE.read_text().replace("\\\n", " ")
    (install,) = re.findall(r"apt-get install.*", commands)
    assert "--no-install-recommends" in install
    assert "rm -rf /var/lib/apt/lists/*" in install
    assert commands.count("pip install ") == commands.count("pip install --no-cache-dir ") == 2


def test_every_package_of_the_image_has_its_version():
    lines = (ROOT / "deploy/packages.txt").read_text().splitlines()
    packages = [line.split()[0] for line in lines if not line.startswith("#") and " tests:" not in line]
    assert len(packages) > 10
    assert [package for package in packages if not re.fullmatch(r"\S+=(\d+:)?\d+(\.\d+)*\*", package)] == []
    pins = re.findall(r"^([\w-]+)(==\S+)?$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pins
    assert [name for name, version in pins if not version] == []
