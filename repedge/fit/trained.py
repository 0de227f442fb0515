"""The end of a fit: QAT at the chosen bits by the ordinary training stage, then the budget again on what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convert.integer_model import layer_weight_bytes
from convert.stage import merge_and_lower
from deploy.budget import check_budget
from deploy.config import BudgetConfig
from repedge.fit.choose import Chosen, bench_of
from repedge.fit.target_fit import Request
from repedge.pipeline import train_stage
from repedge.run import Run
from train.errors import Mismatch


def train_and_check(run: Run, chosen: Chosen, request: Request, work: Path) -> dict[str, Any]:
    """Facts after training: accuracy, encoded bytes, and the budget's limits on them and on the linked firmware.

    Limits on accuracy are those of the test split and left to `repedge run` and `repedge check`.
    """
    manifest = train_stage(run)
    images, _ = chosen.net.calibration(1)  # QAT calibrated itself; lowering needs none
    model = merge_and_lower(run.folder.train, run.recipe.quantize, images).model
    expected = sum(option.weight_bytes for option in chosen.solution.allocation)
    if model.weight_bytes != expected:
        raise Mismatch(
            f"the trained net takes {model.weight_bytes:,} B of weights, {expected:,} B were chosen; report it as a bug"
        )
    layers = [{"name": layer.name, "flash_bytes": layer_weight_bytes(layer)} for layer in model.layers]
    report: dict[str, Any] = {"model": {"weight_bytes": model.weight_bytes}, "targets": {}, "layers": layers}
    bench = bench_of(chosen.net, request, work)
    if bench is not None and chosen.solution.prefer is not None:
        measured = bench.measure(
            model, "trained", prefer=chosen.solution.prefer, ram_limit_bytes=request.limits.ram_limit_bytes
        )
        report["targets"][bench.target.name] = measured.report_entry()
    budget = run.recipe.budget
    known = BudgetConfig(
        model=budget.model, targets={name: budget.targets[name] for name in report["targets"] if name in budget.targets}
    )
    return {
        "accuracy": manifest.metrics["accuracy"],
        "validation": manifest.metrics["validation"],
        "weight_bytes_after_training": model.weight_bytes,
        "budget_after_training": check_budget(known, report | {"accuracy": {}}),
    }
