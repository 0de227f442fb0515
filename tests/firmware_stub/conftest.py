"""The host's kernel runner, built once plainly and once with sanitizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from deploy.kernel_runner import Case, build_host_runner
from tests.need import need

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="session", params=["plain", "sanitized"])
def run_on_host(request, tmp_path_factory) -> Callable[[Sequence[Case]], list[np.ndarray]]:
    """A function from cases to the outputs of the portable and the Winograd kernels."""
    need("cmake", "make", "cc")
    folder = tmp_path_factory.mktemp(f"host_{request.param}")
    runner = build_host_runner(folder / "build", sanitize=request.param == "sanitized")
    return lambda cases: runner.run(cases, folder / "run")
