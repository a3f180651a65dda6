"""Locking across processes by the existence and age of a directory.

``NAME.lockdir`` exists and is recent = locked. The holder's *timeout* lives in the lock and all
obey it; the waiter has *patience*; an expired or dead holder is replaced atomically; waiters stand in
line and wake at once; each holding has a growing number, its *token*.

>>> from lockbydir import Lock
>>> with Lock("jobs", timeout=10, patience=30) as held:  # doctest: +SKIP
...     print("fenced by", held.token)

For several machines, a name may be a URL like ``"etcd://host:2379,host2:2379/jobs"``: then there is
no directory, and etcd keeps the lock.

``DLock`` is the interface of the first version (2015), for programs written for it.
"""

import atexit

from lockbydir._aio import AsyncHeld, AsyncLock
from lockbydir._dlock import (
    CHECKEVERYXSECONDS,
    LOCKDIREXTENSION,
    PATIENCE,
    REMOVETIMEDOUT,
    TIMEOUT,
    DLock,
)
from lockbydir._errors import (
    ForeignLock,
    LockError,
    LockLost,
    LockUnavailable,
    NotHeld,
    PatienceOver,
    WouldDeadlock,
)
from lockbydir._facts import Holder, Predecessor, Status, Ticket
from lockbydir._first_version import getInfoLogger, howToUse, print_Ramdisk_Manual, testDLock
from lockbydir._lock import Lock, clean, list_locks
from lockbydir._native import Held, __version__, settle as _settle

__all__ = [
    "CHECKEVERYXSECONDS",
    "LOCKDIREXTENSION",
    "PATIENCE",
    "REMOVETIMEDOUT",
    "TIMEOUT",
    "AsyncHeld",
    "AsyncLock",
    "DLock",
    "ForeignLock",
    "Held",
    "Holder",
    "Lock",
    "LockError",
    "LockLost",
    "LockUnavailable",
    "NotHeld",
    "PatienceOver",
    "Predecessor",
    "Status",
    "Ticket",
    "WouldDeadlock",
    "__version__",
    "clean",
    "getInfoLogger",
    "howToUse",
    "list_locks",
    "print_Ramdisk_Manual",
    "testDLock",
]

atexit.register(_settle)
