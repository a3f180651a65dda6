"""The rest of the first version's module beside ``DLock``: its logger and its short examples.

The names are those of Andreas Krueger's ``lockbydir.py`` (2015), so that programs which import them
run as they are.
"""

from __future__ import annotations

import logging
import time
from typing import Callable

from lockbydir._dlock import DLock
from lockbydir._lock import Name

_RAM_DISK = """
N.B.: a lock in RAM is faster than one on a disk, and no disk wears out. On Linux /dev/shm is in RAM
already. Or, as root, make a folder of its own; one megabyte is plenty:

    mkdir -p /ramcache
    mount -t tmpfs -o size=1m,mode=1777 lockbydir /ramcache

Then begin the names of your locks with it, like '/ramcache/NAME'. All who share a lock must be on
this machine and see the same folder: a container has a /dev/shm of its own.
"""


def getInfoLogger(ID: str = "") -> Callable[..., None]:
    """Returns a function that prints messages to standard error, after the time of day in milliseconds
    and ``ID``.

    >>> Log = getInfoLogger("[pId=%(process)d]")
    >>> Log("L.locking = %s", True)  # [14:03:59.271] [pId=4711] L.locking = True

    :param ID: the text between time and message; it may contain fields of `logging`'s records, such
        as ``%(process)d`` or ``%(thread)d``.
    :returns: the ``info`` of a new logger, so that several may differ in ``ID``.
    """
    handler = logging.StreamHandler()
    between = f" {ID} " if ID else " "
    handler.setFormatter(
        logging.Formatter(f"[%(asctime)s.%(msecs)03d]{between}%(message)s", datefmt="%H:%M:%S")
    )
    logger = logging.Logger("lockbydir", logging.INFO)
    logger.addHandler(handler)
    return logger.info


def print_Ramdisk_Manual() -> None:
    """Prints instructions for locks in RAM."""
    print(_RAM_DISK)


def howToUse(secs: float = 9) -> bool:
    """Shows the shortest use of a lock, named ``LOCKNAME``, in the current directory.

    :param secs: how long the scarce resource is used, in seconds; at most ``TIMEOUT``.
    :returns: false when patience was over before the lock was free.
    """
    lock = DLock("LOCKNAME")
    if not lock.LoopWhileLocked_ThenLocking():
        return False
    time.sleep(secs)
    lock.unlocking()
    return True


def testDLock(name: Name = "example") -> None:
    """Shows what a lock does, printed step by step; it takes about ten seconds.

    :param name: the name of an unused lock, since it is broken at first.
    """
    Log = getInfoLogger()
    lock, twin = DLock(name), DLock(name)
    Log("The lock is the directory %s", lock.dirname())
    Log("breakLock = %s: whoever held it, it is free now", lock.breakLock())
    Log("locking = %s", lock.locking())
    time.sleep(1)
    Log("a second later: age = %.2f, isLocked = %s", lock.age(), lock.isLocked())
    Log("locking once more = %s: it is held already", lock.locking())
    Log("locking by a second instance of this name = %s: they share it", twin.locking())
    lock.TIMEOUT = 1
    Log("TIMEOUT = 1: isLocked = %s, and exists = %s", lock.isLocked(), lock.exists())

    lock.TIMEOUT = 3
    Log("locking with TIMEOUT = 3: %s, and nobody unlocks it", lock.locking())
    Log("loopWhileLocked = %s: it was worth waiting", lock.loopWhileLocked())

    lock.TIMEOUT, twin.PATIENCE = 10, 2
    Log("locking with TIMEOUT = 10: %s; the other one has PATIENCE = 2", lock.locking())
    Log("LoopWhileLocked_ThenLocking = %s: no patience left", twin.LoopWhileLocked_ThenLocking())
    Log("unlocking by the other = %s: it is not its own", twin.unlocking())
    Log("unlocking = %s", lock.unlocking())
