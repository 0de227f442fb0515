"""One process at a time in a folder: a lock on the folder itself, which leaves no file and ends with the process."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from train.errors import ConfigError

# (device, inode) -> descriptor. A lock belongs to the process: all stages of one command share it.
_held: dict[tuple[int, int], int] = {}
NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # what network file systems answer


def lock_folder(path: Path) -> None:
    """Take an existing folder until `unlock_folders`; `ConfigError` when another process has it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    status = os.fstat(descriptor)
    identity = status.st_dev, status.st_ino
    if identity in _held:
        os.close(descriptor)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(
            f"{path}: another repedge command is working in this folder, allowed is one at a time; wait for its end, or "
            "give another folder"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(descriptor)
            raise
    _held[identity] = descriptor


def unlock_folders() -> None:
    """Let go of every folder; the end of a command."""
    while _held:
        os.close(_held.popitem()[1])


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Hold one folder for a block, unless this process holds it already; it may be renamed meanwhile."""
    before = set(_held)
    lock_folder(path)
    try:
        yield
    finally:
        for identity in set(_held) - before:
            os.close(_held.pop(identity))
