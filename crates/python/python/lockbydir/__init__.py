"""Locking across processes by the existence and age of a directory.

``NAME.lockdir`` exists and is recent: the lock is held. The *timeout* of the holder is stored in the
lock, and everybody obeys it; a waiter has *patience*; an expired or dead holding is taken over
atomically; waiters queue in arrival order and are woken at once; each holding has an ascending number,
its *token*.

>>> from lockbydir import Lock
>>> with Lock("jobs", patience=30) as held:  # doctest: +SKIP
...     print("fenced by", held.token)

The lock is renewed, for 10 s at a time, until the block or the process ends.

For several machines, the name may be a URL like ``"etcd://host:2379,host2:2379/jobs"``: then etcd keeps
the lock, without a directory.

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
from lockbydir._lock import Lock, Semaphore, acquire_all, clean, list_locks
from lockbydir._native import Held, HeldAll, __version__, settle as _settle

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
    "HeldAll",
    "Holder",
    "Lock",
    "LockError",
    "LockLost",
    "LockUnavailable",
    "NotHeld",
    "PatienceOver",
    "Predecessor",
    "Semaphore",
    "Status",
    "Ticket",
    "WouldDeadlock",
    "__version__",
    "acquire_all",
    "clean",
    "getInfoLogger",
    "howToUse",
    "list_locks",
    "print_Ramdisk_Manual",
    "testDLock",
]

atexit.register(_settle)
