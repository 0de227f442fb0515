"""The exact TFLite file in tflite-runtime for aarch64, under qemu-user: the kernels an ARM board would run.

Optional: `make aarch64` unpacks an arm64 Python with the wheels into `build/aarch64-python`, which takes a network. It
proves the results of the aarch64 kernels, and says nothing of time.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.reference import quantize_images
from convert.tflite_exact import FILE_NAME, verify_tflite
from deploy import tflite_runner
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.tflite_runtimes import BACKEND_NAMES, EXACT_RUNTIME, TAIL_LINES, TIMEOUT_S, check_exact
from train.errors import ToolFailed, ToolMissing

SETUP = Path(__file__).resolve().parents[1] / "build" / "aarch64-python"
COMPLETE = "root/versions.txt"  # there once deploy/aarch64/set_up.sh is through
EMULATOR = "qemu-aarch64"
CPU = "cortex-a53"
RUNTIMES = (EXACT_RUNTIME, "tflite_runtime")


def run_tflite_aarch64(converted: ConvertedModel, *, images: int, setup: Path = SETUP) -> list[BackendResult]:
    """Reference kernels (must be exact) and default kernels over the first `images` test vectors."""
    path = converted.folder / FILE_NAME
    verify_tflite(converted.model, path)
    vectors = converted.vectors.first(images)
    results = []
    for runtime in RUNTIMES:
        logits = run_emulated(runtime, path, quantize_images(vectors.images), setup=setup)
        is_exact = runtime == EXACT_RUNTIME
        name = f"{BACKEND_NAMES[runtime]}_aarch64"
        result = proven(name, vectors, logits, role="exact" if is_exact else "runtime")
        results.append(check_exact(result) if is_exact else result)
    return results


def run_emulated(runtime: str, path: Path, images: NDArray[np.int8], *, setup: Path = SETUP) -> NDArray[np.int8]:
    """Logits (N, classes) of one runtime for int8 images (N, H, W, C)."""
    if not (setup / COMPLETE).is_file():
        raise ToolMissing(f"{setup}: no aarch64 Python there, the runtime tflite_aarch64 needs it; run make aarch64")
    if shutil.which(EMULATOR) is None:
        raise ToolMissing(f"{EMULATOR}: not installed, the runtime tflite_aarch64 needs it; apt-get install qemu-user")
    root = setup / "root"
    with tempfile.TemporaryDirectory(prefix="repedge-tflite-") as name:
        source, result = Path(name) / "images.npy", Path(name) / "logits.npy"
        np.save(source, images)
        script = Path(tflite_runner.__file__).resolve()
        python = [EMULATOR, "-cpu", CPU, "-L", str(root), str(root / "usr/bin/python3.11"), "-S", "-P"]
        finished = subprocess.run(
            [*python, str(script), runtime, str(path.resolve()), str(source), str(result)],
            env={"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(root / "site"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if finished.returncode != 0:
            tail = "\n".join(finished.stderr.decode(errors="replace").splitlines()[-TAIL_LINES:])
            raise ToolFailed(
                f"{runtime} on aarch64: ended with {finished.returncode}, 0 is allowed; look at its last lines\n{tail}"
            )
        logits: NDArray[np.int8] = np.load(result)
        return logits
