"""Locks between processes, on files that stay.

If a lock file were removed, one process could lock the removed file while another locks a new one.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .report import say


def try_lock(file: Path, shared: bool = False) -> int | None:
    """Lock the file until the descriptor is closed; None if another process has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


@contextmanager
def locked(file: Path, what: str) -> Iterator[None]:
    """Lock the file, after other processes that have it; `what` says what they do."""
    lock = try_lock(file)
    if lock is None:
        say(f"waiting for another process that {what}")
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)
