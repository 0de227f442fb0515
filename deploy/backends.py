"""The back ends by kind: the host's, and one function per kind of target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel
from convert.kernels import Prefer
from convert.tvm_schedule import Schedule
from deploy.baselines import BASELINES
from deploy.cortex_a import deploy_cortex_a
from deploy.cortex_m import RamLimits, deploy_cortex_m, target_plan
from deploy.ethos_u import deploy_ethos_u
from deploy.host_c import run_host_c
from deploy.onnx_runtimes import run_onnx
from deploy.result import BackendResult, ConvertedModel
from deploy.targets import CortexATarget, CortexMTarget, Target
from deploy.tflite_aarch64 import run_tflite_aarch64
from deploy.tflite_int4 import run_tflite_int4
from deploy.tflite_runtimes import EXACT_RUNTIME, run_tflite
from deploy.tvm_bare_metal import deploy_tvm_bare_metal
from deploy.tvm_host import run_tvm_host

HOST = "host"
AARCH64 = "tflite_aarch64"


def run_host(
    converted: ConvertedModel,
    folder: Path,
    *,
    runtimes: Sequence[str],
    emulated_images: int = 200,
) -> list[BackendResult]:
    """Host C, TFLite's reference kernels and other runtimes, onnxruntime and TVM on this machine.

    All run the whole test split, but `tflite_aarch64`, which is emulated, the first `emulated_images`.
    """
    native = [name for name in runtimes if name != AARCH64]
    emulated = run_tflite_aarch64(converted, images=emulated_images) if AARCH64 in runtimes else []
    return [
        run_host_c(converted, folder / "c"),
        *run_tflite(converted, runtimes=(EXACT_RUNTIME, *native)),
        *emulated,
        run_tflite_int4(converted),
        *run_onnx(converted),
        run_tvm_host(converted, folder / "tvm"),
    ]


def run_baselines(
    converted: ConvertedModel, folder: Path, names: Sequence[str], *, calibration_images: NDArray[np.uint8]
) -> list[BackendResult]:
    """Other tools' quantization of the same float net, calibrated with images of the training split."""
    return [BASELINES[name](converted, folder / "baselines", calibration_images) for name in names]


def check_ram_limit(model: IntegerModel, target: Target, limit_bytes: int | None) -> None:
    """`BudgetExceeded`, naming the smallest feasible RAM, where no kernels of a microcontroller fit into the limit."""
    if isinstance(target, CortexMTarget):
        target_plan(model, target, prefer="ram", limits=RamLimits(demanded=limit_bytes))


def run_target(
    converted: ConvertedModel,
    target: Target,
    folder: Path,
    *,
    images: int,
    prefer: Prefer = "speed",
    ram_limit_bytes: int | None = None,
    ram_budget_bytes: int | None = None,
    tuned: Mapping[str, Schedule] | None = None,
) -> list[BackendResult]:
    """Build and run one target on the first `images` test vectors (Ethos-U: compile and decode).

    `prefer` and the limits on RAM steer the choice of a microcontroller's kernels; `tuned` names TVM schedules
    by layer.
    """
    if isinstance(target, CortexMTarget) and target.engine == "tvm":
        return [deploy_tvm_bare_metal(converted, target, folder, images=images)]
    if isinstance(target, CortexMTarget):
        limits = RamLimits(demanded=ram_limit_bytes, budgeted=ram_budget_bytes)
        return [deploy_cortex_m(converted, target, folder, images=images, prefer=prefer, limits=limits)]
    if isinstance(target, CortexATarget):
        return [deploy_cortex_a(converted, target, folder, images=images, tuned=tuned)]
    return [deploy_ethos_u(converted, target, folder)]
