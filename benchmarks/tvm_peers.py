"""TensorFlow Lite's runtimes for aarch64 under user-mode QEMU: instructions of an inference, by our counting plugin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.emulator import DUMP_NAME
from deploy.profile import read_profile
from deploy.tool import run_tool
from train.artefact import write_bytes

HERE = Path(__file__).resolve().parent / "aarch64"
SET_UP = HERE.parents[1] / "deploy" / "aarch64" / "set_up.sh"
PEERS = ("tflite-runtime", "ai-edge-litert")
RUNS = (1, 11)
VERSIONS_NAME = "versions.txt"
TIMEOUT_S = 1800


def set_up(folder: Path, pip: Path, *, requirements: str = "requirements.txt") -> Path:
    """The unpacked aarch64 Python with the wheels of a list in `deploy/aarch64`, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["sh", str(SET_UP), str(folder.absolute()), str(pip), requirements]
    run_tool(command, cwd=folder, log=folder / "set_up.log", timeout_s=TIMEOUT_S)
    return (folder / "root").absolute()


def versions(root: Path) -> dict[str, str]:
    """File name -> SHA-256 of everything the system was made of."""
    lines = (root / VERSIONS_NAME).read_text().splitlines()
    return {Path(name).name: digest for digest, name in (line.split() for line in lines)}


def per_inference(counts: Sequence[int]) -> float:
    """Instructions of one inference from the totals of 1 and of 11 runs."""
    return (counts[1] - counts[0]) / (RUNS[1] - RUNS[0])


def measure_peer(
    root: Path, peer: str, cpu: str, model: Path, image: NDArray[np.int8], folder: Path, plugin: Path
) -> tuple[float, list[int]]:
    """Instructions of one inference, and the logits."""
    write_bytes(folder / "image.bin", image.tobytes())
    counts, output = [], ""
    for runs in RUNS:
        output = run_tool(
            emulated_python(
                root, cpu, [HERE / "invoke.py", peer, str(model.absolute()), "image.bin", str(runs)], plugin=plugin
            ),
            cwd=folder,
            log=folder / f"{runs}.log",
            timeout_s=TIMEOUT_S,
            environment={},
        )
        counts.append(read_profile(folder / DUMP_NAME).instructions)
    return per_inference(counts), [int(value) for value in output.splitlines()[-1].split()]


def emulated_python(
    root: Path, cpu: str, arguments: Sequence[str | Path], *, plugin: Path | None = None, libraries: str = ""
) -> list[str | Path]:
    """The command that runs a script with its arguments on one thread; `libraries` is the loader's search path."""
    environment = {
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": str(root / "site"),
        "TVM_NUM_THREADS": "1",
    }
    if libraries:
        environment["LD_LIBRARY_PATH"] = libraries
    options = [part for pair in environment.items() for part in ("-E", "=".join(pair))]
    emulator = ["qemu-aarch64", "-cpu", cpu, "-L", str(root), "-seed", "0", *options]
    if plugin is not None:
        emulator += ["-plugin", f"file={plugin.absolute()},out={DUMP_NAME}"]
    return [*emulator, root / "usr" / "bin" / "python3.11", "-S", *arguments]
