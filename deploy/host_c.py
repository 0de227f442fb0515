"""The C runtime on the host: the firmware's kernels and tables over the whole test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.firmware_build import build_firmware, checked_model_dir
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.tool import run_tool
from train.artefact import write_bytes
from train.errors import ToolFailed

IMAGES_NAME = "images.bin"  # uint8 NHWC, back to back
LOGITS_NAME = "logits.bin"  # int8, one row per image
LOG_NAME = "run.log"
TIMEOUT_S = 3600.0


def run_host_c(converted: ConvertedModel, out: Path) -> BackendResult:
    """Build for the host, run every test vector, compare."""
    program = build_firmware(checked_model_dir(converted), "host", out)
    write_bytes(out / IMAGES_NAME, converted.vectors.images.tobytes())
    run_tool([program.resolve(), IMAGES_NAME, LOGITS_NAME], cwd=out, log=out / LOG_NAME, timeout_s=TIMEOUT_S)
    logits = read_logits(out / LOGITS_NAME, len(converted.vectors.images), len(converted.model.class_names))
    (out / IMAGES_NAME).unlink()  # the test split again; it is kept only where something went wrong
    return proven("host_c", converted.vectors, logits)


def read_logits(path: Path, images: int, classes: int) -> NDArray[np.int8]:
    """(images, classes) int8 logits; `ToolFailed` where the file has another size."""
    content = path.read_bytes() if path.is_file() else b""
    if len(content) != images * classes:
        raise ToolFailed(
            f"{path}: {len(content)} bytes, allowed {images * classes} ({images} images of {classes} logits); see the log beside it"
        )
    return np.frombuffer(content, np.int8).reshape(images, classes)
