"""The back ends by kind: the host's, and one function per kind of target."""

from __future__ import annotations

from pathlib import Path

from convert.kernels import Prefer
from deploy.cortex_a import deploy_cortex_a
from deploy.cortex_m import deploy_cortex_m
from deploy.ethos_u import deploy_ethos_u
from deploy.host_c import run_host_c
from deploy.result import BackendResult, ConvertedModel
from deploy.targets import CortexATarget, CortexMTarget, Target
from deploy.tflite_runtimes import run_tflite
from deploy.tvm_host import run_tvm_host

HOST = "host"


def run_host(converted: ConvertedModel, folder: Path) -> list[BackendResult]:
    """Host C, TFLite's runtimes and TVM on this machine, over the whole test split."""
    return [
        run_host_c(converted, folder / "c"),
        *run_tflite(converted),
        run_tvm_host(converted, folder / "tvm"),
    ]


def run_target(
    converted: ConvertedModel,
    target: Target,
    folder: Path,
    *,
    images: int,
    prefer: Prefer = "speed",
    ram_limit_bytes: int | None = None,
) -> list[BackendResult]:
    """Build and run one target on the first `images` test vectors (Ethos-U: compile and decode).

    `prefer` and `ram_limit_bytes` steer the choice of a microcontroller's kernels.
    """
    if isinstance(target, CortexMTarget):
        result = deploy_cortex_m(
            converted, target, folder, images=images, prefer=prefer, ram_limit_bytes=ram_limit_bytes
        )
        return [result]
    if isinstance(target, CortexATarget):
        return [deploy_cortex_a(converted, target, folder, images=images)]
    return [deploy_ethos_u(converted, target, folder)]
