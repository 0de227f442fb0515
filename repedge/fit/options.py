"""The command line of `repedge fit`; nothing here loads torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

EXAMPLES = """\
A net is the folder of a run, zoo:NAME, or a recipe whose float net is then trained first. Of several nets (widths, say) the one
with the least expected loss within the budget is taken. Sizes may end in K or KiB (1024 bytes) or M or MiB.

examples:
  repedge fit runs/quickstart --weight-bytes 30000                  bits per layer, then QAT, in runs/quickstart-fit
  repedge fit runs/quickstart --target cortex-m4 --flash 40K --ram 14K --latency 5
  repedge fit runs/wide runs/narrow --budget budget.yaml --no-train  only choose, do not train
  repedge fit runs/quickstart --weight-bytes 24000 --compare --seeds 0,1,2   train the other methods as well
"""


def size(text: str) -> int:
    """Bytes of `65536`, `64K`, `64KiB` or `1M`."""
    match = re.fullmatch(r"([\d_]+)\s*(?:([KkMm])(?:iB|B)?|B)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; allowed are bytes such as 65536, 64K or 64KiB")
    return int(match[1]) * {"": 1, "K": 1024, "M": 1024**2}[(match[2] or "").upper()]


def seeds(text: str) -> tuple[int, ...]:
    """Different whole numbers, none below 0, of `0,1,2`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or len({int(part) for part in parts}) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} are no seeds; allowed are different numbers such as 0,1,2")
    return tuple(map(int, parts))


def add_fit(parser: argparse.ArgumentParser) -> None:
    """All arguments but --json and --quiet."""
    parser.add_argument("nets", type=Path, nargs="+", metavar="NET", help="run folder, zoo:NAME or recipe")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to write (default: runs/<name>-fit)")
    _add_budget(parser)
    parser.add_argument(
        "--method", choices=("exact", "greedy", "cgmq", "uniform"), default="exact", help="default: exact"
    )
    parser.add_argument(
        "--prefer",
        choices=("speed", "ram", "flash", "any"),
        help="what kernels are chosen for; any: whatever loses least (default: the recipe's, another where that cannot fit)",
    )
    parser.add_argument("--bits", type=int, nargs=2, default=(2, 8), metavar=("LOW", "HIGH"), help="default: 2 8")
    parser.add_argument("--images", type=int, default=512, help="calibration images (default: 512)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of measuring again around the choice (default: 2; 0: layers one by one)"
    )
    parser.add_argument("--gate-steps", type=int, default=300, help="cgmq: training steps (default: 300)")
    parser.add_argument("--from-qat", action="store_true", help="start from the QAT net's latent weights")
    _add_training(parser)


def _add_budget(parser: argparse.ArgumentParser) -> None:
    budget = parser.add_argument_group("budget (default: that of the first net's recipe)")
    budget.add_argument("--budget", type=Path, metavar="FILE", help="a budget's YAML file")
    budget.add_argument("--weight-bytes", type=size, metavar="N", help="indices, codebooks, biases and multipliers")
    budget.add_argument("--bit-operations", type=int, metavar="N", help="sum of MACs x weight bits x activation bits")
    budget.add_argument("--target", metavar="NAME", help="microcontroller that the next limits are for")
    budget.add_argument("--flash", type=size, metavar="N")
    budget.add_argument("--ram", type=size, metavar="N")
    budget.add_argument("--instructions", type=int, metavar="N")
    budget.add_argument("--latency", type=float, metavar="MS", help="upper end of the estimate's band")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-train", action="store_true", help="write recipe and plot, train nothing")
    parser.add_argument("--epochs", type=int, help="of the QAT at the end (default: the recipe's)")
    parser.add_argument("--compare", action="store_true", help="train exact, greedy, cgmq and uniform at equal bytes")
    parser.add_argument("--seeds", type=seeds, default=(0,), metavar="0,1,2", help="of --compare (default: 0)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets (default: $REPEDGE_DATA, then ./data)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the nets' recipes"
    )
    parser.add_argument("--device", default="cpu", help="torch device for training (default: cpu)")
    parser.add_argument("--force", action="store_true", help="replace another run, and measurements made so far")
