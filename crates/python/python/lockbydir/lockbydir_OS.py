"""The first version's module ``lockbydir_OS``, for programs that use it: directories and their age.

The names are those of Andreas Krueger's ``lockbydir_OS.py`` (2015). ``DLock`` uses none of it, and
its locks are directories that are not empty: end one by ``unlocking`` or ``breakLock``.
"""

from __future__ import annotations

import errno
import os
from datetime import datetime
from typing import Callable

from lockbydir._dlock import LOCKDIREXTENSION
from lockbydir._lock import Name

__all__ = [
    "ERROR",
    "LOCKDIREXTENSION",
    "millisecondsPrecisionOnly",
    "mkdir_ReturnWhetherSuccessful",
    "pathAgeInSeconds",
    "pathExists",
    "pathModificationDate",
    "rmdir_ReturnWhetherSuccessfullyRemoved",
]

ERROR = -1
"""The age of a path that cannot be inspected."""

# These mean: not done, try again.
_NOT_MADE = (errno.EEXIST, errno.EACCES, errno.EPROTO, errno.ENOSPC)
_NOT_REMOVED = (errno.ENOENT, errno.EACCES, errno.EPROTO)


def _did(do: Callable[[Name], None], pathname: Name, failures: tuple[int, ...]) -> bool:
    try:
        do(pathname)
    except OSError as error:
        if error.errno in failures:
            return False
        raise
    return True


def pathExists(pathname: Name) -> bool:
    """Returns true if there is such a file or directory."""
    return os.path.exists(pathname)


def pathModificationDate(pathname: Name) -> datetime:
    """Returns when the path was last changed, by the local clock.

    :raises OSError: when it cannot be inspected.
    """
    return datetime.fromtimestamp(os.path.getmtime(pathname))


def millisecondsPrecisionOnly(DT: datetime) -> datetime:
    """Returns the time, truncated to milliseconds."""
    return DT.replace(microsecond=DT.microsecond // 1000 * 1000)


def pathAgeInSeconds(pathname: Name) -> float:
    """Returns how many seconds ago the path was last changed; `ERROR` when it cannot be inspected."""
    try:
        changed = pathModificationDate(pathname)
    except OSError:
        return ERROR
    if os.name == "nt":
        # On Windows the times of files are finer than the clock, and would lie in the future.
        changed = millisecondsPrecisionOnly(changed)
    return (datetime.now() - changed).total_seconds()


def mkdir_ReturnWhetherSuccessful(pathname: Name) -> bool:
    """Creates a directory; returns false when it exists, access is denied, or there is no space.

    :raises OSError: for any other failure.
    """
    return _did(os.mkdir, pathname, _NOT_MADE)


def rmdir_ReturnWhetherSuccessfullyRemoved(pathname: Name) -> bool:
    """Removes an empty directory; returns false when there is none, or access is denied.

    :raises OSError: for any other failure, also for a directory that is not empty, such as one of our
        locks.
    """
    return _did(os.rmdir, pathname, _NOT_REMOVED)
