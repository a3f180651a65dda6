"""What programs took from the first version's module ``lockbydir_OS``: directories and their age.

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
"""The age of what cannot be looked at."""

# What these mean: not done, try again.
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
    """Is there such a file or directory?"""
    return os.path.exists(pathname)


def pathModificationDate(pathname: Name) -> datetime:
    """When it was last changed, by the local clock.

    :raises OSError: when it cannot be looked at.
    """
    return datetime.fromtimestamp(os.path.getmtime(pathname))


def millisecondsPrecisionOnly(DT: datetime) -> datetime:
    """The same time without what is shorter than a millisecond."""
    return DT.replace(microsecond=DT.microsecond // 1000 * 1000)


def pathAgeInSeconds(pathname: Name) -> float:
    """How many seconds ago it was last changed; `ERROR` when it cannot be looked at."""
    try:
        changed = pathModificationDate(pathname)
    except OSError:
        return ERROR
    if os.name == "nt":
        # There, files have finer dates than the clock, and would come from the future.
        changed = millisecondsPrecisionOnly(changed)
    return (datetime.now() - changed).total_seconds()


def mkdir_ReturnWhetherSuccessful(pathname: Name) -> bool:
    """Makes a directory; false when it exists, access is denied, or there is no space.

    :raises OSError: for any other trouble.
    """
    return _did(os.mkdir, pathname, _NOT_MADE)


def rmdir_ReturnWhetherSuccessfullyRemoved(pathname: Name) -> bool:
    """Removes an empty directory; false when there is none, or access is denied.

    :raises OSError: for any other trouble; so for one that is not empty, such as a lock of ours.
    """
    return _did(os.rmdir, pathname, _NOT_REMOVED)
