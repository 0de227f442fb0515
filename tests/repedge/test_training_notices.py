"""Notices that a report takes from the training's manifest."""

from __future__ import annotations

from repedge.training_notices import training_notices


def metrics(*, began: float, ended: float) -> dict[str, object]:
    return {"accuracy": {"float_train": {"top1": began}, "qat": {"top1": ended}}, "dataset_notes": ["92 are inexact"]}


def test_remarks_on_the_data_reach_the_report():
    assert training_notices(metrics(began=90.0, ended=89.0)) == ["data: 92 are inexact"]


def test_a_collapsed_qat_phase_is_told_with_the_key_to_change():
    notice = training_notices(metrics(began=89.7, ended=10.0))[1]
    assert "ended at 10.00 %" in notice and "train.qat_phase.learning_rate" in notice


def test_a_training_without_qat_has_nothing_to_collapse():
    assert training_notices({"accuracy": {"float_train": {"top1": 50.0}}}) == []
