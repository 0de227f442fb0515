"""The exact int8 TFLite file in several interpreters: the reference kernels as proof, the others as measurements.

`tflite_ref` must give the reference's logits, all of them. The optimised kernels (ruy, XNNPACK) round differently:
their share of differing logits is reported, never hidden by a tolerance.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.reference import quantize_images
from convert.tflite_exact import FILE_NAME, verify_tflite
from convert.vectors import Vectors
from deploy import tflite_runner
from deploy.result import BackendResult, ConvertedModel, proven
from train.errors import Mismatch, ToolFailed, ToolMissing

EXACT_RUNTIME = "tflite_ref"
PACKAGES = {
    "tflite_ref": ("tflite_runtime", "tflite-runtime"),
    "tflite_runtime": ("tflite_runtime", "tflite-runtime"),
    "litert": ("ai_edge_litert", "ai-edge-litert"),
    "tensorflow": ("tensorflow", "tensorflow"),
}
DEFAULT_RUNTIMES = ("tflite_ref", "tflite_runtime", "litert")
ALL_RUNTIMES = tuple(PACKAGES)
BACKEND_NAMES = {
    "tflite_ref": "tflite_ref",
    "tflite_runtime": "tflite_runtime_default",
    "litert": "litert_default",
    "tensorflow": "tensorflow_default",
}
TIMEOUT_S = 3600
TAIL_LINES = 15


def run_tflite(
    converted: ConvertedModel, *, runtimes: Sequence[str] = DEFAULT_RUNTIMES, images: int | None = None
) -> list[BackendResult]:
    """One result per runtime, over the whole test split or its first `images`; `Mismatch` where the proof fails.

    The file is compared with the integer model first. `tensorflow` is the slowest to start and not among the defaults.
    """
    path = converted.folder / FILE_NAME
    verify_tflite(converted.model, path)
    vectors = converted.vectors if images is None else converted.vectors.first(images)
    return [_result(runtime, path, vectors) for runtime in runtimes]


def _result(runtime: str, path: Path, vectors: Vectors) -> BackendResult:
    logits = run_runtime(runtime, path, vectors.images)
    if runtime == EXACT_RUNTIME:
        return check_exact(proven(BACKEND_NAMES[runtime], vectors, logits))
    return proven(BACKEND_NAMES[runtime], vectors, logits, role="runtime")


def check_exact(result: BackendResult) -> BackendResult:
    """The result of reference kernels as it came; `Mismatch` where a logit differs."""
    if result.exactness is not None and result.exactness.logits_mismatched:
        raise Mismatch(
            f"{result.backend}: {result.exactness.logits_mismatched} of {result.exactness.logits_compared} logits differ "
            "from the reference, allowed 0; the file or the interpreter's version is not the one this was written for; "
            "install the pinned tflite-runtime and run convert again"
        )
    return result


def run_runtime(runtime: str, path: Path, images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Logits (N, classes) of one runtime for uint8 images (N, H, W, C), in a process of its own."""
    return run_quantized(runtime, path, quantize_images(images))


def run_quantized(runtime: str, path: Path, images: NDArray[np.int8]) -> NDArray[np.int8]:
    """As `run_runtime`, for images (N, H, W, C) that are the file's int8 input already."""
    module, package = PACKAGES[runtime]
    if importlib.util.find_spec(module) is None:
        raise ToolMissing(f"{package}: not installed, the back end {runtime} needs it; pip install {package}")
    with tempfile.TemporaryDirectory(prefix="repedge-tflite-") as name:
        source, result = Path(name) / "images.npy", Path(name) / "logits.npy"
        np.save(source, images)
        script = Path(tflite_runner.__file__).resolve()
        command = [sys.executable, "-P", str(script), runtime, str(path.resolve()), str(source), str(result)]
        finished = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        if finished.returncode != 0:
            tail = "\n".join(finished.stderr.decode(errors="replace").splitlines()[-TAIL_LINES:])
            raise ToolFailed(
                f"{runtime}: ended with {finished.returncode}, 0 is allowed; look at its last lines\n{tail}"
            )
        return np.load(result)
