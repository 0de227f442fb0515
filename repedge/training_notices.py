"""What a report must say of the training: remarks on the data, and a QAT phase that lost what the float net knew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLLAPSED = 0.5  # share of the float net's accuracy below which a QAT phase has failed, not merely lost


def training_notices(metrics: Mapping[str, Any]) -> list[str]:
    """Notices from the metrics of a training's manifest; accuracies are top-1 in percent.

    >>> training_notices({"accuracy": {"float_train": {"top1": 90.0}, "qat": {"top1": 10.0}}})[0][:49]
    'train: the QAT phase ended at 10.00 %, its float '
    """
    notices = [f"data: {note}" for note in metrics.get("dataset_notes", ())]
    accuracy = metrics.get("accuracy", {})
    if "qat" not in accuracy or "float_train" not in accuracy:
        return notices
    ended, began = accuracy["qat"]["top1"], accuracy["float_train"]["top1"]
    if ended < COLLAPSED * began:
        notices.append(
            f"train: the QAT phase ended at {ended:.2f} %, its float net has {began:.2f} %: it collapsed; lower "
            "train.qat_phase.learning_rate (0.0015 with optimizer adamw serves most nets) or raise its warmup_epochs"
        )
    return notices
