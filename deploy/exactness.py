"""How a back end compares with the reference, logit by logit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.reference import predict, top1


@dataclass(frozen=True)
class Exactness:
    """Facts of one comparison; `saturated_share` counts reference logits at −128 or 127, so that "equal" means something."""

    images: int
    logits_compared: int
    logits_mismatched: int
    max_difference: int
    saturated_share: float
    distinct_predictions: int

    def to_json(self) -> dict[str, Any]:
        """The entry of report.json's `exactness`."""
        return asdict(self)


def compare_logits(reference: NDArray[np.int8], actual: NDArray[np.int8]) -> Exactness:
    """Compare (N, classes) int8 logits; shapes must be equal."""
    if reference.shape != actual.shape:
        raise ValueError(f"logits {actual.shape}, the reference has {reference.shape}")
    difference = np.abs(reference.astype(np.int32) - actual.astype(np.int32))
    return Exactness(
        images=len(reference),
        logits_compared=reference.size,
        logits_mismatched=int((difference != 0).sum()),
        max_difference=int(difference.max(initial=0)),
        saturated_share=float(((reference == -128) | (reference == 127)).mean()),
        distinct_predictions=len(np.unique(predict(reference))),
    )


def accuracy_entry(logits: NDArray[np.int8], labels: NDArray[np.integer]) -> dict[str, Any]:
    """The entry of report.json's `accuracy`."""
    return {"top1": top1(logits, labels), "images": len(labels)}
