"""Ctrl-C, `kill` and a closed terminal end a command the same way: half-written files go, and what to do next is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
RESUMABLE = ("run", "train", "convert", "deploy")


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C asked for the end; every clean-up of an interrupt runs."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise `Terminated`, unless they are ignored as `nohup` does."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    former = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in former.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that an error follows from: a native module that is interrupted while it loads turns it into another."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells report it."""
    return 128 + (interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT)


def what_next(verb: str) -> str:
    """What an interrupted user is told."""
    resume = " with --resume" if verb in RESUMABLE else ""
    return f"interrupted; nothing half-written counts as finished; the same command{resume} goes on"
