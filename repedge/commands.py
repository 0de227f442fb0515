"""The verbs: each takes parsed options, prints its result on stdout and returns an exit code."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.tree import Tree

from deploy.budget import check_figures_exist
from deploy.targets import load_target, target_names
from repedge.recipe import load_recipe
from repedge.stages import RECIPE_FILE
from repedge.target_table import NARROWEST, choose_targets, target_table
from train.errors import ConfigError, Mismatch


def _run_of(options: argparse.Namespace) -> Any:
    recipe = load_recipe(options.recipe, [*options.set, *_deploy_settings(options)])
    targets = options.target.split(",") if getattr(options, "target", None) else recipe.deploy.targets
    check_figures_exist(recipe.budget, [load_target(name) for name in targets])
    # imported after the recipe was checked: a typo is answered at once, without loading torch and TVM
    from repedge.progress import Progress
    from repedge.run import Run
    from repedge.stages import check_run_folder

    _check_device(options.device)
    out = options.out or Path("runs") / recipe.name
    folder = check_run_folder(out, recipe.name, force=options.force)
    return Run(recipe, folder, options.data_dir, options.device, options.resume, options.force, Progress(options.quiet))


def _check_device(device: str) -> None:
    """Before anything is written; the CPU is always there, and is not worth loading torch for."""
    if device != "cpu":
        from train.loop import check_device

        check_device(device)


def _deploy_settings(options: argparse.Namespace) -> list[str]:
    """Flags of `deploy` that are keys of the recipe."""
    flags = {name: getattr(options, name, None) for name in ("prefer", "ram_limit")}
    return [f"deploy.{name}={value}" for name, value in flags.items() if value]


def run(options: argparse.Namespace) -> int:
    """All stages."""
    current = _run_of(options)
    from repedge import pipeline

    current.progress.say(f"repedge run {options.recipe} -> {current.folder.path}")
    if current.recipe.checkpoint.file is None:  # a checkpoint from elsewhere enters at convert
        pipeline.train_stage(current)
    pipeline.convert_stage(current)
    pipeline.deploy_stage(current)
    return _report(current, options, None)


def train(options: argparse.Namespace) -> int:
    """The training stage."""
    current = _run_of(options)
    from repedge import pipeline

    return _print_manifest(pipeline.train_stage(current), current.folder.train, options)


def convert(options: argparse.Namespace) -> int:
    """The conversion stage."""
    current = _run_of(options)
    from repedge import pipeline

    return _print_manifest(pipeline.convert_stage(current, options.checkpoint), current.folder.convert, options)


def deploy(options: argparse.Namespace) -> int:
    """The deployment stage, then the report."""
    if not (math.isfinite(options.tune_minutes) and options.tune_minutes > 0):
        raise ConfigError(
            f"--tune-minutes {options.tune_minutes:g}: allowed are minutes of more than 0; give some, as 10"
        )
    current = _run_of(options)
    from repedge import pipeline

    names = options.target.split(",") if options.target else None
    pipeline.deploy_stage(current, names, tune_minutes=options.tune_minutes if options.tune else None)
    return _report(current, options, names)


def report(options: argparse.Namespace) -> int:
    """The report stage, of a recipe's run or of a run's folder."""
    if options.recipe.is_dir():
        options.out = options.out or options.recipe
        options.recipe = options.recipe / RECIPE_FILE
    return _report(_run_of(options), options, None, options.runs)


def _report(current: Any, options: argparse.Namespace, targets: list[str] | None, others: Sequence[Path] = ()) -> int:
    from deploy.report_text import print_summary
    from repedge.report_stage import report_stage

    content = report_stage(current, targets, others)
    if options.json:
        print(json.dumps(content, indent=2))
    else:
        print_summary(content)
        print(f"\nwrote report.html, report.md and report.json to {current.folder.path}")
    wrong = [name for name, entry in content["exactness"].items() if entry["logits_mismatched"]]
    if wrong:
        raise Mismatch(
            f"{', '.join(wrong)}: logits differ from the integer model, allowed are 0; see exactness in report.json"
        )
    return 0 if content["budget"]["passed"] else 1


def _print_manifest(manifest: Any, folder: Path, options: argparse.Namespace) -> int:
    if options.json:
        print(manifest.model_dump_json(indent=2))
        return 0
    table = Table("file", "bytes", title=f"wrote {folder}", title_justify="left")
    for name, entry in manifest.files.items():
        table.add_row(name, f"{entry.size_bytes:,}")
    Console().print(table)
    for name, entry in manifest.metrics.get("accuracy", {}).items():
        print(f"{name}: {entry['top1']:.2f} % of {entry['images']} test images")
    return 0


def targets(options: argparse.Namespace) -> int:
    """List targets."""
    found = [load_target(name) for name in options.names or target_names()]
    wanted = (options.core or "").lower()
    chosen = choose_targets(found, wanted)
    if not chosen:
        raise ConfigError(f"--core {options.core}: no target's name, core or kind contains it; try m4, m33, a53 or u55")
    if options.json:
        print(json.dumps([target.model_dump(mode="json") for target in chosen], indent=2))
        return 0
    console = Console()
    console.width = max(console.width, NARROWEST)
    console.print(target_table(chosen))
    return 0


def check(options: argparse.Namespace) -> int:
    """Gate a run by a budget."""
    from deploy.budget import check_budget, load_budget
    from deploy.budget_text import print_budget
    from deploy.junit import write_junit
    from repedge.compare import load_report

    content = load_report(options.run)
    budget = load_budget(options.budget) if options.budget else load_recipe(_folder(options.run) / RECIPE_FILE).budget
    result = check_budget(budget, content)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print_budget(result)
    if options.junit:
        write_junit(result, options.junit, run=content.get("name", options.run.name))
        if not options.json:
            print(f"wrote {options.junit}")
    return 0 if result["passed"] else 1


def _folder(run: Path) -> Path:
    """The run's folder, where its report.json was named."""
    return run if run.is_dir() else run.parent


def compare(options: argparse.Namespace) -> int:
    """Differences of two runs."""
    from repedge import compare as comparison
    from repedge import compare_text

    comparison.check_threshold(options.threshold)
    found = comparison.differences(comparison.load_report(options.a), comparison.load_report(options.b))
    failed = comparison.broken(found, options.threshold) if options.threshold is not None else []
    names = options.a.resolve().name, options.b.resolve().name
    if options.json:
        print(
            json.dumps({"differences": comparison.to_json(found), "broken": [item.name for item in failed]}, indent=2)
        )
    elif options.markdown:
        print(compare_text.markdown(found, failed, names, options.threshold), end="")
    elif not found:
        print("no difference")
    else:
        console = Console(highlight=False)
        console.width = max(console.width, NARROWEST)
        console.print(compare_text.drawn(found, failed, names, options.threshold))
    return 1 if failed else 0


def inspect(options: argparse.Namespace) -> int:
    """Explain an artefact, or with `--verify` prove that it still holds the integer model."""
    facts = _verified(options) if options.verify else _explained(options)
    if options.json:
        print(json.dumps(facts, indent=2, default=str))
        return 0
    tree = Tree(escape(f"{options.file}: {facts.get('kind', '')}"))
    _grow(tree, {key: value for key, value in facts.items() if key not in ("kind", "file")})
    Console(highlight=False).print(tree)
    return 0


def _explained(options: argparse.Namespace) -> dict[str, Any]:
    from repedge.inspect_file import inspect_path

    if options.model is not None:
        raise ConfigError(f"--model {options.model}: only --verify compares with a model; add --verify")
    return inspect_path(options.file)


def _verified(options: argparse.Namespace) -> dict[str, Any]:
    from repedge.verify import verify_path

    return verify_path(options.file, options.model)


def _grow(tree: Tree, facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        if isinstance(value, dict):
            _grow(tree.add(escape(str(key))), value)
        else:
            tree.add(escape(f"{key}: {value}"))


def fit(options: argparse.Namespace) -> int:
    """Choose bits under a budget, then train."""
    from repedge.fit.command import run_fit

    return run_fit(options)


def export(options: argparse.Namespace) -> int:
    """Write a run's model as a C library."""
    from repedge.export import export_run

    files = export_run(
        options.run,
        options.form,
        options.out,
        core=options.core,
        prefix=options.prefix,
        prefer=options.prefer,
        arena=options.arena,
    )
    if options.json:
        print(json.dumps({str(path): path.stat().st_size for path in files}, indent=2))
    else:
        print(f"wrote {len(files)} files to {options.out}; {options.out / 'README.md'} says how to use them")
    return 0


def init(options: argparse.Namespace) -> int:
    """Write a commented recipe."""
    from repedge.init import write_recipe

    write_recipe(options.recipe, data=options.data, board=options.board, force=options.force)
    print(
        json.dumps({"wrote": str(options.recipe)})
        if options.json
        else f"wrote {options.recipe}; next: repedge run {options.recipe}"
    )
    return 0


def zoo(options: argparse.Namespace) -> int:
    """List the zoo, or make a run folder of one of its models."""
    from repedge import zoo as models

    return models.print_models(as_json=options.json) if options.action == "list" else models.fetch(options)


def completion(options: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    from repedge.cli import build_parser
    from repedge.completion import completion_script

    print(completion_script(build_parser(), options.shell), end="")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Report the tools; exit 3 when one cannot be used."""
    from repedge.doctor import examine

    tools = examine()
    unusable = [tool for tool in tools if tool.version is None]
    if options.json:
        print(json.dumps([asdict(tool) for tool in tools], indent=2))
        return 3 if unusable else 0
    columns = (Column(name, no_wrap=True) for name in ("tool", "version", "package"))
    table = Table(*columns, "for", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for tool in tools:
        state = tool.version or ("missing" if tool.fault == "missing" else "broken")
        table.add_row(tool.name, state, tool.package, tool.purpose, style=None if tool.version else "red")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for tool in unusable:
        if tool.fault != "missing":
            print(f"{tool.name}: {tool.fault}")
    if unusable:
        packages = " ".join(sorted({tool.package for tool in unusable}))
        print(f"not usable: {len(unusable)} of {len(tools)} tools; install {packages}, or run `make setup`")
    return 3 if unusable else 0
