"""The recipe's sections for deployment and budget."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from train.config import Section

SIZE = re.compile(r"(\d+)\s*(?:B|(K|M)(?:i?B)?)?", re.IGNORECASE)


def parse_bytes(text: Any) -> Any:
    """Bytes from "65536", "64KB" or "64 KiB", all with 1024 bytes to the KB; what is no text is left to the caller.

    >>> parse_bytes("16KB"), parse_bytes("20 KiB"), parse_bytes("300")
    (16384, 20480, 300)
    """
    if not isinstance(text, str):
        return text
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("allowed are bytes, KB or MB, as 40960 or 40KB (1024 bytes to the KB)")
    return int(match[1]) * {"": 1, "k": 1024, "m": 1024**2}[(match[2] or "").lower()]


Bytes = Annotated[int, BeforeValidator(parse_bytes)]


class DeployConfig(Section):
    """Targets (names of files in deploy/targets), how many test images run under emulation, and baselines to compare with.

    `runtimes` run the exact int8 TFLite file beside the reference kernels, which always do; `tflite_aarch64` needs
    `make aarch64`. A RAM limit of the budget also limits the choice of kernels. A baseline is another tool's quantization of the same
    float net; it takes about a minute, so none is the default.
    """

    targets: tuple[str, ...] = ("cortex-m4", "cortex-a53", "ethos-u55-128")
    emulated_images: int = Field(200, ge=1)
    prefer: Literal["speed", "ram", "flash"] = Field(
        "speed", description="what a microcontroller's kernels are chosen for"
    )
    runtimes: tuple[Literal["tflite_runtime", "litert", "tensorflow", "tflite_aarch64"], ...] = (
        "tflite_runtime",
        "litert",
        "tensorflow",
    )
    ram_limit: Bytes | None = Field(
        None, gt=0, description="bytes (or as 40KB) of a microcontroller's RAM, stack included; kept to, or an error"
    )
    baselines: tuple[Literal["onnx2tf_int8"], ...] = ()


class AccuracyLimits(Section):
    """Limits on top-1 in percent of the test split, measured on the integer model."""

    top1_min: float | None = Field(None, ge=0, le=100)
    top1_loss_max: float | None = Field(None, description="points lost against the float net, at most")


class ModelLimits(Section):
    """Upper limits of the model itself, whatever it runs on."""

    weight_bytes: Bytes | None = Field(None, gt=0, description="indices, codebooks, biases and multipliers as encoded")


class TargetLimits(Section):
    """Upper limits of one target; bytes or 64KB. `latency_ms` is compared with the upper end of the estimate's band."""

    flash_bytes: Bytes | None = Field(None, gt=0, description="or as 64KB")
    ram_bytes: Bytes | None = Field(None, gt=0, description="stack included")
    regions: dict[str, Annotated[Bytes, Field(ge=0)]] = Field(
        {}, description="memory region of the board -> bytes; 0: it stays free"
    )
    instructions: int | None = Field(None, gt=0)
    latency_ms: float | None = Field(None, gt=0)

    @property
    def ram_limit_bytes(self) -> int | None:
        """The tighter of the limits on all RAM and on the region `ram`, which holds all of it."""
        limits = [limit for limit in (self.ram_bytes, self.regions.get("ram")) if limit is not None]
        return min(limits, default=None)


class BudgetConfig(Section):
    """A budget: in the recipe, or a file of its own for `repedge check`."""

    accuracy: AccuracyLimits = AccuracyLimits()
    model: ModelLimits = ModelLimits()
    targets: dict[str, TargetLimits] = {}
