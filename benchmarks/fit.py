"""The benchmark of `repedge fit`: every method at budgets midway between uniform widths, trained alike, compared in pairs.

    python -m benchmarks.fit [--grid FILE] [--jobs N] [--float-nets DIR] [--seeds 0 ...] [--set key=value ...]
                             [--results FILE] [--tables FILE] [--work DIR] [--only-state] [--data-dir DIR] [--device NAME]

Budget b + 0.5 is the middle of the encoded bytes of the nets with b and with b + 1 bits in every layer but the recipe's
first and last one; the net with b + 1 bits is trained too, as a reference. It states the hours before it starts, can be
interrupted at any time and never repeats a finished cell. With `--jobs N` that many processes share the nets and append
to the one results file. `--float-nets runs/accuracy` takes over float nets of the accuracy benchmark whose key matches.
The test split is measured once per finished cell, when there is nothing left to choose or to train.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.fit_bench import FitBench
from benchmarks.fit_grid import load_grid, units_of
from benchmarks.fit_tables import page
from benchmarks.jobs import WHOLE, Share, run_jobs
from repedge.fit.nets import Start
from repedge.results_file import ResultsFile
from train.artefact import write_text
from train.dataset import load_dataset
from train.errors import ConfigError, PipelineError

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(given)
    try:
        bench = make_bench(options)
        if options.share == WHOLE:
            _say(f"{bench.missing()} cells to do: at most {bench.hours():.2g} hours of one process on this machine")
        if options.only_state:
            return 0
        if options.share == WHOLE and options.jobs > 1:
            run_jobs("benchmarks.fit", given, options.jobs)
        else:
            bench.run(options.share)
        if options.share != WHOLE:
            return 0  # the process that waits for all does the rest
        bench.measure_test(_say)
        write_text(options.tables, page(bench.lines()))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {options.results} and {options.tables}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, default=HERE / "fit_grid.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these of the grid's seeds")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe key of all nets"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results" / "fit.jsonl")
    parser.add_argument("--tables", type=Path, default=HERE / "FIT.md")
    parser.add_argument("--work", type=Path, default=Path("runs") / "bench-fit", help="checkpoints and measurements")
    parser.add_argument("--float-nets", type=Path, metavar="DIR", help="work folder of the accuracy benchmark")
    parser.add_argument("--only-state", action="store_true", help="state the hours and stop")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the nets")
    parser.add_argument("--share", type=Share.parse, default=WHOLE, metavar="K/N", help="only this share of the nets")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="cpu")
    return parser


def make_bench(options: argparse.Namespace) -> FitBench:
    """What the options mean; all units must be of one data set."""
    grid = load_grid(options.grid)
    units = units_of(grid, options.set, options.seeds)
    if not units:
        raise ConfigError(f"--seeds {options.seeds}: no net of {options.grid} has one of these seeds; name others")
    if len({unit.recipe.data for unit in units}) > 1:
        raise ConfigError(f"grid {options.grid}: nets of several data sets, allowed is one; split the grid")
    start = Start(options.work, (), options.data_dir, options.device, quiet=False)
    results = ResultsFile(options.results, options.work / "results.lock")
    dataset = load_dataset(units[0].recipe.data, options.data_dir)
    return FitBench(grid, units, results, start, dataset, options.float_nets)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
