"""Running a firmware image under emulation: all images at full speed, the first one counted, a few for the mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.vectors import Vectors
from deploy.emulator import build_plugin, run_system
from deploy.profile import Profile
from deploy.targets import CortexMTarget
from train.artefact import write_bytes
from train.errors import Mismatch, ToolFailed

IMAGES_NAME = "images.bin"
LOGITS_NAME = "logits.bin"
PROFILE_FOLDER = "profile"
TIMEOUT_S = 3600.0
MEAN_IMAGES = 8  # kernels branch on data where they saturate, so counts of images differ by a fraction of a percent
FACTS = re.compile(r"repedge: images=(\d+) arena_bytes=(\d+) stack_used_bytes=(\d+) stack_bytes=(\d+)")


@dataclass(frozen=True)
class FirmwareFacts:
    """What the firmware says of itself at its end; `stack_used_bytes` by the paint that is left on the stack."""

    images: int
    arena_bytes: int
    stack_used_bytes: int
    stack_bytes: int


def run_images(
    target: CortexMTarget, elf: Path, folder: Path, *, vectors: Vectors
) -> tuple[NDArray[np.int8], FirmwareFacts]:
    """int8 (N, classes) logits of all vectors and what the firmware printed; no plugin, so at full speed."""
    write_bytes(folder / IMAGES_NAME, np.ascontiguousarray(vectors.images).tobytes())
    (folder / LOGITS_NAME).unlink(missing_ok=True)
    run = run_system(target, elf, folder, timeout_s=TIMEOUT_S)
    return _read_logits(folder / LOGITS_NAME, vectors), _parse_facts(run.output, len(vectors.images))


def profile_image(target: CortexMTarget, elf: Path, folder: Path, *, vectors: Vectors) -> Profile:
    """Counts of the first vector's inference, from two runs that must agree to the instruction."""
    plugin = build_plugin(folder / "plugin")
    profiles = []
    for name in (PROFILE_FOLDER, "profile_again"):
        write_bytes(folder / name / IMAGES_NAME, vectors.first(1).images.tobytes())
        run = run_system(target, elf, folder / name, plugin=plugin, timeout_s=TIMEOUT_S)
        logits = _read_logits(folder / name / LOGITS_NAME, vectors.first(1))
        if not np.array_equal(logits, vectors.logits[:1]):
            raise Mismatch(f"{target.name}: the profiled run gives other logits than the reference; report it as a bug")
        profiles.append(run.counts)
    if profiles[0] != profiles[1]:
        raise Mismatch(
            f"{target.name}: two runs of one image count {profiles[0].instructions} and {profiles[1].instructions} "
            "instructions; equal counts are expected; report it as a bug"
        )
    return profiles[0]


def mean_instructions(
    target: CortexMTarget, elf: Path, folder: Path, *, vectors: Vectors, layers: int
) -> dict[str, float]:
    """Mean instructions of an inference over the first `MEAN_IMAGES` vectors: exact sum, divided by the images."""
    given = vectors.first(MEAN_IMAGES)
    write_bytes(folder / "mean" / IMAGES_NAME, given.images.tobytes())
    plugin = build_plugin(folder / "plugin")
    run = run_system(target, elf, folder / "mean", plugin=plugin, memory=False, timeout_s=TIMEOUT_S)
    return {"images": len(given.images), "mean": sum(run.counts.layer_instructions(layers)) / len(given.images)}


def _read_logits(path: Path, vectors: Vectors) -> NDArray[np.int8]:
    content = path.read_bytes() if path.is_file() else b""
    if len(content) != vectors.logits.size:
        raise ToolFailed(
            f"{path}: {len(content)} bytes of logits, {vectors.logits.size} are expected; see emulator.log beside it"
        )
    return np.frombuffer(content, np.int8).reshape(vectors.logits.shape)


def _parse_facts(output: str, images: int) -> FirmwareFacts:
    match = FACTS.search(output)
    if match is None or int(match[1]) != images:
        raise ToolFailed(f"the firmware did not report {images} images; its last words were: {output[-500:]!r}")
    return FirmwareFacts(*map(int, match.groups()))
