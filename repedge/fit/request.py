"""The budget of a fit, from flags, a file or the recipe: what is asked of the model and of one microcontroller."""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from pydantic import ValidationError

from deploy.budget import check_figures_exist, load_budget
from deploy.config import BudgetConfig, ModelLimits, TargetLimits
from deploy.targets import CortexMTarget, load_target
from repedge.fit.target_fit import Request
from repedge.recipe import Recipe
from train.errors import ConfigError
from train.validation import explain

Limits = TypeVar("Limits", ModelLimits, TargetLimits)
FLAGS = {"flash": "flash_bytes", "ram": "ram_bytes", "instructions": "instructions", "latency": "latency_ms"}
HINT = "give --weight-bytes N, --flash N, --ram N, --instructions N or --latency MS, or --budget FILE"


def budget_of(options: argparse.Namespace, recipe: Recipe) -> BudgetConfig:
    """The file's budget, else an empty one where flags are given, else the recipe's; flags over all of them."""
    flags: dict[str, Any] = {
        key: getattr(options, name) for name, key in FLAGS.items() if getattr(options, name) is not None
    }
    by_flags = bool(flags) or options.weight_bytes is not None or options.bit_operations is not None
    budget = load_budget(options.budget) if options.budget else BudgetConfig() if by_flags else recipe.budget
    if options.weight_bytes is not None:
        limit = {"weight_bytes": options.weight_bytes}
        budget = budget.model_copy(update={"model": _limits(ModelLimits, limit, "--weight-bytes")})
    if flags:
        name = load_target(options.target).name if options.target else _only_microcontroller(recipe)
        known = budget.targets.get(name, TargetLimits()).model_dump()
        limits = _limits(TargetLimits, known | flags, "--flash, --ram, --instructions, --latency")
        budget = budget.model_copy(update={"targets": budget.targets | {name: limits}})
    return budget


def _limits(section: type[Limits], values: dict[str, Any], flags: str) -> Limits:
    """A section of the budget from flags."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{flags}: give limits above 0\n{explain(error, section)}") from error


def _only_microcontroller(recipe: Recipe) -> str:
    """The recipe's first Cortex-M target."""
    for name in recipe.deploy.targets:
        target = load_target(name)
        if isinstance(target, CortexMTarget):
            return target.name
    raise ConfigError(
        "--flash, --ram, --instructions, --latency: the recipe deploys to no microcontroller; add --target NAME"
    )


def request_of(options: argparse.Namespace, recipe: Recipe, budget: BudgetConfig) -> Request:
    """What can be steered: limits on the model, and on one Cortex-M target (`--target`, or the only one with limits)."""
    wanted = load_target(options.target) if options.target else _limited_target(recipe, budget)
    if wanted is not None and not isinstance(wanted, CortexMTarget):
        raise ConfigError(
            f"target {wanted.name}: {wanted.kind}, fit steers the limits of Cortex-M targets; name one with --target, "
            "and check the other limits with repedge check"
        )
    limits = budget.targets.get(wanted.name, TargetLimits()) if wanted else TargetLimits()
    request = Request(budget.model.weight_bytes, options.bit_operations, wanted, limits)
    if request.weight_bytes is None and request.bit_operations is None and limits == TargetLimits():
        raise ConfigError(f"no limit on bytes, instructions or latency to fit to; {HINT}")
    if wanted is not None:
        check_figures_exist(BudgetConfig(targets={wanted.name: limits}), [wanted])
    return request


def _limited_target(recipe: Recipe, budget: BudgetConfig) -> Any:
    """The one target with limits; the recipe may name its file."""
    limited = [name for name, limits in budget.targets.items() if limits != TargetLimits()]
    if not limited:
        return None
    if len(limited) > 1:
        raise ConfigError(
            f"budget targets {', '.join(limited)}: several with limits, fit steers one; name it with --target"
        )
    by_name = {load_target(name).name: name for name in recipe.deploy.targets}
    return load_target(by_name.get(limited[0], limited[0]))


def fitted_recipe(
    recipe: Recipe, *, name: str, bits: dict[str, int], budget: BudgetConfig, target: str | None, prefer: str | None
) -> Recipe:
    """The recipe to run: bits per layer, the budget, and the kernels that it was fitted with."""
    weights = recipe.quantize.weights.model_copy(update={"layers": dict(bits)})
    deploy = recipe.deploy.model_copy(update={"prefer": prefer} if prefer else {})
    if target is not None and load_target(target).name not in {load_target(known).name for known in deploy.targets}:
        deploy = deploy.model_copy(update={"targets": (*deploy.targets, target)})
    changes = {
        "name": name,
        "quantize": recipe.quantize.model_copy(update={"weights": weights}),
        "deploy": deploy,
        "budget": budget,
    }
    return recipe.model_copy(update=changes)
