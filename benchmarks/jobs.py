"""One benchmark in several processes: each takes its share of the work, the first failure is one of all."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.errors import ToolFailed


@dataclass(frozen=True)
class Share:
    """Share `number` (from 0) of `total`."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """`0/2` is the first of two shares."""
        number, _, total = text.partition("/")
        if not (number.isdigit() and total.isdigit() and int(number) < int(total)):
            raise argparse.ArgumentTypeError(f"{text!r}: allowed is K/N with K from 0 to N - 1")
        return cls(int(number), int(total))

    def keys(self, costs: Mapping[str, float]) -> set[str]:
        """The keys of this share: the dearest are dealt first, each to who has least.

        >>> [sorted(Share(number, 2).keys({"a": 5, "b": 3, "c": 2})) for number in (0, 1)]
        [['a'], ['b', 'c']]
        """
        work, mine = [0.0] * self.total, set()
        for key, cost in sorted(costs.items(), key=lambda item: (-item[1], item[0])):
            owner = work.index(min(work))
            work[owner] += cost
            if owner == self.number:
                mine.add(key)
        return mine


WHOLE = Share(0, 1)


def run_jobs(module: str, arguments: Sequence[str], jobs: int) -> None:
    """Run `python -m module` in `jobs` processes, each with its share, and wait for all; a failure of one is one of all."""
    command = [sys.executable, "-m", module, *without_jobs(arguments)]
    workers = [subprocess.Popen([*command, "--share", f"{number}/{jobs}"]) for number in range(jobs)]
    try:
        codes = [worker.wait() for worker in workers]
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
    if any(codes):
        raise ToolFailed(f"{module}: workers ended with exit codes {codes}, allowed is 0; see their errors above")


def without_jobs(arguments: Sequence[str]) -> list[str]:
    """The same arguments for a worker.

    >>> without_jobs(["--jobs", "2", "--seeds", "0"])
    ['--seeds', '0']
    """
    kept = list(arguments)
    while "--jobs" in kept:
        position = kept.index("--jobs")
        del kept[position : position + 2]
    return [argument for argument in kept if not argument.startswith("--jobs=")]
