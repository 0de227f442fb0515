"""`compile: true`: torch compiles the training step with the machine's C++ compiler, or says why it cannot."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from train.errors import ConfigError, ToolFailed
from train.model import RepVGG


def compile_step(network: RepVGG) -> None:
    """Let torch fuse the network's elementwise work; the first step then takes about half a minute."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise ConfigError(
            "train: compile true needs a C++ compiler, found neither g++ nor clang++; install one or set compile: false"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise ConfigError(
            f"train: compile true needs Python's C headers, found no Python.h in {headers}; "
            "install libpython3-dev or set compile: false"
        )
    network.compile_training()


@contextmanager
def compile_failures() -> Iterator[None]:
    """Compiler errors, a full disk or a folder without the right to run programs become one ToolFailed."""
    try:
        yield
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

        if not isinstance(error, TorchDynamoException):
            raise
        said = " ".join(str(error).split("\n\n")[0].split())
        raise ToolFailed(
            f"train: compile true: torch could not compile the step: {said}; give TORCHINDUCTOR_CACHE_DIR a folder with "
            "space where programs may run, or set compile: false"
        ) from error
