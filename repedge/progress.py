"""Progress on stderr: one line per step with its time; a live line while it runs when stderr is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Prints steps unless `quiet`."""

    quiet: bool = False

    def say(self, text: str) -> None:
        """One line on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def step(self, stage: str, what: str) -> Iterator[None]:
        """Announce a step, then print how long it took."""
        live = not self.quiet and sys.stderr.isatty()
        if live:
            print(f"  {stage:<8} {what} …", end="", file=sys.stderr, flush=True)
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        if live:
            print("\r\x1b[2K", end="", file=sys.stderr)
        self.say(f"  {stage:<8} {what}  {seconds:.1f} s")
