"""The `repedge` command: one verb per stage, plus `run` for all of them and the tools around it.

Results go to stdout, progress and errors to stderr. Exit codes: 0 pass, 1 a budget, comparison or proof failed,
2 wrong usage, recipe or input, 3 a tool is missing or crashed.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from repedge import __version__
from repedge.fit.options import EXAMPLES as FIT_EXAMPLES
from repedge.fit.options import add_fit
from repedge.folder_lock import unlock_folders
from repedge.import_errors import describe_import_error
from repedge.interrupt import exit_status, interrupt_behind, termination_as_interrupt, what_next
from repedge.suggesting_parser import SuggestingParser
from repedge.target_table import EXAMPLE as TARGET_EXAMPLE
from train.errors import PipelineError, ToolMissing

REMEDIES = {
    errno.ENOSPC: "free space on that disk, or give a folder on another",
    errno.EDQUOT: "free space within your quota, or give a folder elsewhere",
    errno.EROFS: "give a folder that can be written",
}
EXPORT_FORMATS = ("cmake", "zephyr", "arduino", "platformio", "esp-idf", "cmsis-pack")
EPILOG = """\
exit codes:
  0 pass    1 a budget, comparison or proof failed    2 wrong usage, recipe or input    3 a tool is missing or crashed

examples:
  repedge run recipes/quickstart.yaml --out runs/quickstart     digits to proven firmware, a few minutes
  repedge run my.yaml --out runs/mine --set quantize.weights.bit_width=3 --set name=mine-w3
  repedge check runs/mine --budget budget.yaml                  exit 1 and the worst layer when a limit is broken
  repedge inspect runs/mine/convert/model_int8.tflite               what is in this file?
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = SuggestingParser(
        prog="repedge",
        description="Train, merge, codebook-quantise and prove RepVGG image classifiers on microcontrollers, NPUs and ARM boards.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"repedge {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_stage(verbs, "run", "all stages: train, convert, deploy, report; redoes only what changed")
    _add_stage(verbs, "train", "train the float net, then quantization-aware")
    convert = _add_stage(verbs, "convert", "merge exactly, lower to the integer model, write ONNX, TFLite, TVM and C")
    convert.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="a RepVGG from elsewhere (.pth, .safetensors), a train folder, or zoo:NAME (default: OUT/train)",
    )
    deploy = _add_stage(verbs, "deploy", "build for the targets, run on emulators, compare with the reference, profile")
    deploy.add_argument("--target", metavar="A,B", help="targets instead of the recipe's: names or .yaml paths")
    deploy.add_argument(
        "--prefer",
        choices=("speed", "ram", "flash"),
        help="what kernels are chosen for (default: the recipe's deploy.prefer)",
    )
    deploy.add_argument(
        "--tune",
        action="store_true",
        help="first search TVM schedules for ARM Linux targets by counted instructions; records stay in OUT/tune",
    )
    deploy.add_argument(
        "--tune-minutes",
        type=float,
        default=10.0,
        metavar="N",
        help="time for each target's search, which a later --tune goes on with (default: 10)",
    )
    deploy.add_argument(
        "--ram-limit",
        metavar="BYTES",
        help="RAM of a microcontroller, stack included, as 40960 or 40KB (default: the recipe's deploy.ram_limit, else the chip's)",
    )
    report = _add_stage(
        verbs,
        "report",
        "write report.html, report.md and report.json of a run, and check its budget",
        recipe="recipe, or the folder of a run",
    )
    report.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="run folders to compare with (default: those beside this run)"
    )
    _add_tools(verbs)
    for action in verbs._choices_actions:
        tool = verbs.choices[action.dest]
        tool.description = tool.description or _sentence(action.help or "")
    return parser


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _add_stage(
    verbs: argparse._SubParsersAction, name: str, text: str, *, recipe: str = "recipe, a YAML file"
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=_sentence(text))
    parser.add_argument("recipe", type=Path, help=recipe)
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/<recipe name>)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets (default: $REPEDGE_DATA, then ./data)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the recipe, e.g. seed=3"
    )
    parser.add_argument("--device", default="cpu", help="torch device for training (default: cpu)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training run")
    parser.add_argument(
        "--force", action="store_true", help="replace the run of another recipe, or an interrupted training run"
    )
    _add_output(parser)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _add_tools(verbs: argparse._SubParsersAction) -> None:
    targets = verbs.add_parser(
        "targets",
        help="list the boards, cores and NPUs that can be deployed to, with their memory; check a board file of your own",
        epilog=TARGET_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    targets.add_argument(
        "names", nargs="*", metavar="NAME", help="only these; the path of a .yaml file checks a board of your own"
    )
    targets.add_argument("--core", metavar="NAME", help="only targets whose name, core or kind contains NAME, e.g. m4")
    _add_output(targets)
    check = verbs.add_parser("check", help="check a run's report against a budget file; exit 1 when a limit is broken")
    check.add_argument("run", type=Path, help="run folder")
    check.add_argument(
        "--budget", type=Path, metavar="FILE", help="budget, a YAML file (default: the recipe's own budget)"
    )
    check.add_argument("--junit", type=Path, metavar="FILE", help="also write the result as JUnit XML, for CI")
    _add_output(check)
    compare = verbs.add_parser("compare", help="what changed between two runs; exit 1 beyond a threshold")
    compare.add_argument("a", type=Path, help="run folder before")
    compare.add_argument("b", type=Path, help="run folder after")
    compare.add_argument(
        "--threshold", type=float, metavar="PERCENT", help="exit 1 when a cost grows, or top-1 falls, by more than this"
    )
    compare.add_argument("--markdown", action="store_true", help="print the tables as Markdown, for a pull request")
    _add_output(compare)
    inspect = verbs.add_parser("inspect", help="explain any file or folder that repedge wrote")
    inspect.add_argument("file", type=Path, help="a file, the folder of a stage, or that of a run")
    inspect.add_argument(
        "--verify", action="store_true", help="compare it with the run's integer model; exit 1 naming a damaged layer"
    )
    inspect.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="with --verify: the integer model, or the run or convert folder of it",
    )
    _add_output(inspect)
    fit = verbs.add_parser(
        "fit",
        help="choose bits per layer so that a budget holds with the least loss, then train",
        description="Choose bits per layer (and of several nets the best) so that a budget holds with the least loss, then train.",
        epilog=FIT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fit(fit)
    _add_output(fit)
    export = verbs.add_parser("export", help="a run's model as a C library for a build system, with an example")
    export.add_argument("run", type=Path, help="run folder")
    export.add_argument("out", type=Path, metavar="OUT", help="folder to write; an earlier export is replaced")
    export.add_argument("--as", dest="form", required=True, choices=EXPORT_FORMATS, help="the build system")
    export.add_argument(
        "--core",
        default="portable",
        metavar="NAME",
        help="the core whose kernels it holds: m0plus, m3, m4, m7, m33, m55 (default: portable, which runs on any core)",
    )
    export.add_argument(
        "--prefer",
        choices=("speed", "ram", "flash"),
        help="what the core's kernels are chosen for (default: as the run deployed them to that core, else speed)",
    )
    export.add_argument("--arena", type=int, metavar="BYTES", help="RAM for activations and scratch, at most")
    export.add_argument(
        "--prefix",
        default="model",
        metavar="NAME",
        help="what the library's names begin with, so that two models fit into one program (default: model)",
    )
    _add_output(export)
    init = verbs.add_parser("init", help="write a commented recipe to start from")
    init.add_argument("recipe", type=Path, nargs="?", default=Path("recipe.yaml"), help="default: recipe.yaml")
    init.add_argument(
        "--data", choices=("digits", "cifar10", "idx", "folder"), default="folder", help="default: folder"
    )
    init.add_argument("--board", metavar="NAME", default="cortex-m4", help="a target; `repedge targets` lists them")
    init.add_argument("--force", action="store_true", help="replace an existing file")
    _add_output(init)
    zoo = verbs.add_parser("zoo", help="trained models that come with RepEdge: list them, get one as a run folder")
    actions = zoo.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="name, size, bits, accuracy and bytes of every model")
    _add_output(listing)
    fetch = actions.add_parser("get", help="a run folder from which convert, deploy and report go on")
    fetch.add_argument("name", metavar="NAME", help="a model; `repedge zoo list` shows them")
    fetch.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/NAME)")
    fetch.add_argument("--force", action="store_true", help="replace the run of another recipe")
    _add_output(fetch)
    completion = verbs.add_parser("completion", help='shell completion: eval "$(repedge completion bash)"')
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    doctor = verbs.add_parser("doctor", help="which tools are there, and which package brings a missing one")
    _add_output(doctor)


def _commands() -> dict[str, Callable[[argparse.Namespace], int]]:
    # imported late: --help and wrong usage answer without loading torch
    from repedge import commands

    return {
        "run": commands.run,
        "train": commands.train,
        "convert": commands.convert,
        "deploy": commands.deploy,
        "report": commands.report,
        "targets": commands.targets,
        "check": commands.check,
        "compare": commands.compare,
        "inspect": commands.inspect,
        "fit": commands.fit,
        "export": commands.export,
        "init": commands.init,
        "zoo": commands.zoo,
        "completion": commands.completion,
        "doctor": commands.doctor,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    # TensorFlow and TVM print banners at import unless told otherwise
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # idle threads of torch sleep instead of spinning, which costs others on a busy machine dearly
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with termination_as_interrupt():
            status = _commands()[options.verb](options)
            sys.stdout.flush()  # a reader that went away is noticed here, not after main
            return status
    except (Exception, KeyboardInterrupt) as error:
        return _report_end(error, options.verb)
    finally:
        unlock_folders()


def _report_end(error: BaseException, verb: str) -> int:
    """Say on stderr why a command ended early; the exit code."""
    if interrupt := interrupt_behind(error):
        print(what_next(verb), file=sys.stderr)
        return exit_status(interrupt)
    if isinstance(error, PipelineError):
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return 128 + signal.SIGPIPE  # as other programs end: a gate whose table nobody read has not passed
    if isinstance(error, OSError):
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        _drop_stdout()
        return 2
    if isinstance(error, ImportError) and (message := describe_import_error(error)):
        print(f"error: {message}", file=sys.stderr)
        return ToolMissing.exit_code
    traceback.print_exception(error)  # a bug: the trace is what a maintainer needs
    print("error: this is a bug in repedge; please report it with the lines above", file=sys.stderr)
    return 3


def _drop_stdout() -> None:
    """Let what is still to be written to a closed or full stdout vanish, or Python's end would fail on it again."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def describe_os_error(error: OSError) -> str:
    """What the system said, about which file, and what to do."""
    name = error.filename2 or error.filename  # of a copy the second is the one that is written
    place = f": {name}" if name else ""
    remedy = REMEDIES.get(error.errno or 0, "correct the path or its permissions")
    if isinstance(error, PermissionError):
        remedy = (
            f"user {os.getuid()} has no right to it: give a path that you may read and write, "
            'or in a container run as its owner: --user "$(id -u):$(id -g)"'
        )
    return f"{error.strerror or error}{place}; {remedy}, then run again"


if __name__ == "__main__":
    sys.exit(main())
