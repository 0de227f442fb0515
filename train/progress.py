"""Progress on stderr: a bar with the time left on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class Progress:
    """Counts the steps of both phases, so that the time left is that of the whole training."""

    def __init__(self, total_steps: int, *, done_steps: int, quiet: bool) -> None:
        self.total, self.first, self.done = total_steps, done_steps, done_steps
        self.started = time.monotonic()
        self.quiet = quiet
        hidden = quiet or not sys.stderr.isatty()
        self.bar = tqdm(total=total_steps, initial=done_steps, unit="step", disable=hidden, file=sys.stderr)

    def step(self) -> None:
        """One optimizer step is done."""
        self.done += 1
        self.bar.update()

    def epoch(self, line: str) -> None:
        """An epoch is done; `line` says how it went."""
        if self.quiet:
            return
        if self.bar.disable:
            minutes, seconds = divmod(self._seconds_left(), 60)
            print(f"{line} · left {minutes}:{seconds:02d}", file=sys.stderr, flush=True)
        else:
            self.bar.set_description(line)

    def close(self) -> None:
        """Leave the terminal tidy."""
        self.bar.close()

    def _seconds_left(self) -> int:
        elapsed, here = time.monotonic() - self.started, max(1, self.done - self.first)
        return round(elapsed / here * (self.total - self.done))
