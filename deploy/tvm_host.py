"""The TVM kernels on this machine: the whole test split through the shared library."""

from __future__ import annotations

from pathlib import Path

from deploy.result import BackendResult, ConvertedModel, proven
from deploy.tool import run_tool
from deploy.tvm_build import (
    IMAGES_NAME,
    LOGITS_NAME,
    build_library,
    host_target,
    read_logits,
    write_images,
)

BACKEND = "tvm_host"


def run_tvm_host(converted: ConvertedModel, out: Path) -> BackendResult:
    """Build the library for this machine in `out`, run every test vector and compare its logits with the reference."""
    library = build_library(converted, host_target(), out)
    vectors = converted.vectors
    write_images(out, vectors.images)
    run_tool([library.runner.absolute(), IMAGES_NAME, LOGITS_NAME], cwd=out, log=out / "run.log", timeout_s=3600)
    return proven(BACKEND, vectors, read_logits(out, len(vectors.images), vectors.logits.shape[1]))
