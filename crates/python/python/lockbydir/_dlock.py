"""``DLock``: the interface of the first version, name by name, on the locks of this one.

The names are those of Andreas Krueger's ``lockbydir.py`` (2015), so that programs written for it
run as they are. Its open problems are solved: the timeout is that of the holder and is stored in the
lock, and of all waiters that find a lock timed out, exactly one gets it.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, NoReturn, Optional

from lockbydir import _native
from lockbydir._errors import ForeignLock, LockLost, PatienceOver
from lockbydir._facts import Status
from lockbydir._lock import Name, Owner, Seconds, native, patience_of, shown
from lockbydir._native import seconds

TIMEOUT = 10
"""How long a lock lasts, in seconds, unless the instance says otherwise."""
PATIENCE = 30
"""How long a waiter waits, in seconds, unless the instance says otherwise."""
CHECKEVERYXSECONDS = 0.03
"""How often a waiter checks the lock where no change is notified, in seconds."""
REMOVETIMEDOUT = True
"""Whether ``isLocked`` removes a timed-out lock directory."""
LOCKDIREXTENSION = ".lockdir"
"""What follows the name of the lock in the name of the directory."""

_NOT_ACQUIRED = {errno.EEXIST, errno.EACCES, errno.EPERM, errno.EPROTO, errno.ENOSPC}
"""When the directory is created, these mean: not acquired, try again while patience lasts."""
_SHORTEST = 0.1
"""The shortest timeout that a lock can have, in seconds."""
_SHORTEST_PAUSE = 0.001


class _Holding(NamedTuple):
    """The holding of an instance. It has only the key, so dropping it releases nothing."""

    made_in: int
    """The `fork_generation` of the process that holds it."""
    base: str
    """The absolute path of the lock directory, so that neither a new ``name`` nor a ``chdir`` changes
    it; or the URL, as given."""
    key: str
    token: int
    since: float
    """When it was locked, on the clock that runs during suspend."""


class DLock:
    """A lock with the interface of the first version.

    >>> import os, tempfile
    >>> lock = DLock(os.path.join(tempfile.mkdtemp(), "bed"))
    >>> lock.TIMEOUT, lock.PATIENCE = 5, 1
    >>> if lock.LoopWhileLocked_ThenLocking():
    ...     pass  # at most TIMEOUT long
    >>> lock.unlocking()
    True

    All attributes in capitals can be set at any time: on an instance, on a class, or by a subclass
    whose ``__init__`` calls ``DLock.__init__`` first. Instances of the same name, in this and other
    processes, share one lock, also with ``Lock`` and the command ``lockbydir``.

    Changes since the first version: the lock lasts as long as the ``TIMEOUT`` of its *holder*, whatever
    that of the others is; the lock of a process that dies is free at once (see ``OWNER``); waiters
    queue in arrival order.

    Dropping an instance unlocks nothing: the lock stays until it times out or the process ends.
    A lock that was locked before a fork belongs to the parent; the child's copy of the instance does
    not own it. Threads that share an instance share its ownership: any of them can unlock it. Make
    one instance for each thread.

    :param name: a path; the lock is the directory ``NAME.lockdir``, whose folder must exist. A
        relative path is relative to the current directory of this moment, even if the program changes
        it later. Or the URL of a lock on etcd, which has no directory: then ``exists`` says whether it
        is locked.
    :raises ValueError: when no lock can have this name.
    :raises TypeError: when the name is neither a ``str`` nor a path.
    """

    TIMEOUT: Seconds = TIMEOUT
    """How long the lock lasts, in seconds, from 0.1 s to ten years; then it opens by itself. It applies
    to locks that this instance locks. Setting it while the lock is held makes the lock last that long,
    counted from when it was locked. If that time has passed already, the lock opens at once: the
    assignment returns 0.1 s later, when it is open."""
    PATIENCE: Optional[Seconds] = PATIENCE
    """How long a waiter waits, in seconds; 0 is one try, ``None`` or infinity is for ever."""
    CHECKEVERYXSECONDS: float = CHECKEVERYXSECONDS
    """How often to check the lock, in seconds, where no change is notified; less than 0.001 s counts
    as 0.001 s. On one host a waiter for the lock is woken at once, whatever this is."""
    REMOVETIMEDOUT: bool = REMOVETIMEDOUT
    """Whether ``isLocked`` removes a timed-out lock directory. Either way it counts as open."""
    LOCKDIREXTENSION: str = LOCKDIREXTENSION
    """What follows the name of the lock in the name of the directory. It must end in ``.lockdir``,
    like ``.web.lockdir``: only such a directory is a lock for all other programs. Any other extension
    raises a ``ValueError`` when it is used. Different extensions make different locks."""
    OWNER: Owner = "process"
    """The process on whose life the lock depends, beside its timeout: ``"process"`` (this one),
    ``"nobody"`` (as in the first version: only the timeout opens a forgotten lock), or a PID."""

    name: Name
    """The name, as given; after setting it, this instance is one of another lock."""
    lockingTime: Optional[float]
    """When this instance last locked, in seconds since 1970; ``None`` before that."""
    startedWaitingTime: Optional[float]
    """When this instance last began to wait, in seconds since 1970; ``None`` before that."""

    _folder: str = ""
    """The current directory when the name was set."""
    _holding: Optional[_Holding] = None
    _patienceFrom: Optional[float] = None
    _made: Optional[tuple[tuple[object, ...], _native.Lock]] = None

    def __init__(self, name: Name) -> None:
        self.name = name
        self.lockingTime = None
        self.startedWaitingTime = None
        self._lock()

    # The main methods.

    def LoopWhileLocked_ThenLocking(self) -> bool:
        """Waits until the lock is open or timed out, then locks it.

        "Exists, access denied, protocol error, no space" mean: try again while patience lasts.

        :returns: true when this instance holds the lock; false when ``PATIENCE`` is over.
        :raises OSError: for any other failure, such as a folder that does not exist.
        :raises ValueError: when ``TIMEOUT``, ``PATIENCE`` or the name is invalid.
        """
        self.startWaiting()
        while not self._take(lambda lock: lock.acquire(self._patienceLeft())):
            if not self.stillPatience():
                return False
            self._pause()
        return True

    def unlocking(self) -> bool:
        """Removes the lock if this instance owns it and it has not timed out.

        :returns: true when it was removed; false when it is another's, timed out, or gone.
        :raises OSError: when the system refuses; then it may be tried again.
        """
        holding = self._mine()
        if holding is None:
            return False
        lock = native(holding.base)
        status = _look(lock)
        removed = status is not None and status.state == "held" and status.token == holding.token
        if removed:
            try:
                lock.release(holding.key)
            except LockLost:
                removed = False
        self._holding = None
        return removed

    def locking(self) -> bool:
        """Tries once to lock, without waiting. A timed-out lock counts as none.

        :returns: true when this instance holds the lock now; false when it was held already, even by
            this instance, or when the directory cannot be created for now.
        :raises OSError: for any other failure, such as a folder that does not exist.
        """
        return self._take(lambda lock: lock.try_acquire())

    def isLocked(self) -> bool:
        """Returns true if the lock exists and has not timed out.

        Removes a timed-out lock directory, unless ``REMOVETIMEDOUT`` is false.
        """
        if self.existsAndNotTimedOut():
            return True
        if self.REMOVETIMEDOUT:
            self.removeIfTimedOut()
        return False

    def loopWhileLocked(self) -> bool:
        """Waits until the lock is open, or until ``PATIENCE`` is over, and does not lock it.

        Others may lock it right after. To lock, use ``LoopWhileLocked_ThenLocking``: that queues,
        while this method checks the lock every ``CHECKEVERYXSECONDS``.

        :returns: false when the lock was open at once; true when this call waited.
        """
        self.startWaiting()
        waited = False
        while self.isLocked() and self.stillPatience():
            waited = True
            self._pause()
        return waited

    def breakLock(self) -> bool:
        """Removes the lock, whoever holds it.

        Its holder notices this only when ``unlocking`` returns false: until then two may believe
        that they hold the lock. A timed-out lock need not be broken.

        :returns: true when there was a lock.
        :raises ForeignLock: when something at its path is not a lock.
        :raises OSError: when the system refuses.
        """
        try:
            return self._lock().break_lock(True)
        except FileNotFoundError:
            return False

    # Methods that inspect the lock.

    def dirname(self) -> str:
        """Returns the lock directory: the name and ``LOCKDIREXTENSION``, relative if the name is; for a
        lock without a directory, its URL without secrets."""
        if _native.is_url(self._base()):
            return self._lock().path
        return self._base() + ".lockdir"

    def exists(self) -> bool:
        """Returns true if there is a lock directory, timed out or not."""
        if _native.is_url(self._base()):
            status = self._status()
            return status is not None and status.state not in ("free", "open")
        return os.path.lexists(self._place() + ".lockdir")

    def age(self) -> float:
        """Returns the seconds since the last change of the lock; -1 if there is none, or it cannot be
        read.

        Locking is a change, and so is a new ``TIMEOUT`` of the holder.
        """
        try:
            status = self._status()
            if status is None:
                return -1
            if status.age is not None:
                return status.age
            return max(0.0, time.time() - os.lstat(status.path).st_mtime)
        except OSError:
            return -1

    def timedOut(self) -> bool:
        """Returns true if there is a lock directory that no longer locks.

        That is so when the timeout of its holder has passed, or its holder is dead. A directory that a
        plain ``mkdir`` made has no timeout of its own: for that, ``TIMEOUT`` counts.
        """
        status = self._status()
        return status is not None and status.state != "free" and not _binds(status)

    def existsAndNotTimedOut(self) -> bool:
        """Returns true if there is a lock directory that has not timed out."""
        status = self._status()
        return status is not None and _binds(status)

    # Helpers.

    def removeIfTimedOut(self) -> bool:
        """Removes a timed-out lock directory, but never one that was locked anew meanwhile.

        :returns: true when it was removed by this call.
        """
        try:
            return self._lock().break_lock(False)
        except (ForeignLock, FileNotFoundError):
            return False
        except OSError as error:
            if error.errno in _NOT_ACQUIRED:
                return False
            raise

    def startWaiting(self) -> None:
        """Starts to count the patience."""
        self.startedWaitingTime = time.time()
        self._patienceFrom = time.monotonic()

    def stillPatience(self) -> bool:
        """Returns true if less than ``PATIENCE`` has passed since ``startWaiting``."""
        left = self._patienceLeft()
        return left is None or left > 0

    # The methods below are not part of the first version.

    def _patienceLeft(self) -> Optional[float]:
        patience = patience_of(self.PATIENCE)
        if patience is None or self._patienceFrom is None:
            return patience
        return max(0.0, patience - (time.monotonic() - self._patienceFrom))

    def _pause(self) -> None:
        pause = max(_SHORTEST_PAUSE, seconds(self.CHECKEVERYXSECONDS, "CHECKEVERYXSECONDS"))
        left = self._patienceLeft()
        time.sleep(pause if left is None else min(pause, left))

    def _place(self) -> str:
        """Like `_base`, but absolute: relative to where the name was set, wherever the program is now."""
        base = self._base()
        if not base or _native.is_url(base):
            return base
        return os.path.join(self._folder, base)

    def _base(self) -> str:
        extension = self.LOCKDIREXTENSION
        if not isinstance(extension, str):
            raise TypeError(f"LOCKDIREXTENSION is a str, not {extension!r}")
        if not extension.endswith(".lockdir"):
            raise ValueError(
                f'LOCKDIREXTENSION ends in ".lockdir", not {extension!r}: '
                f"else the directory is no lock to others"
            )
        base = os.fspath(self.name) + extension[: -len(".lockdir")]
        # A name may already be that of the directory, as everywhere in this package.
        directory = base.rstrip("/")
        if directory.endswith(".lockdir") and not _native.is_url(base):
            return directory[: -len(".lockdir")]
        return base

    def _lock(self) -> _native.Lock:
        """Returns the lock according to the present attributes."""
        poll_interval = seconds(self.CHECKEVERYXSECONDS, "CHECKEVERYXSECONDS")
        given = (self._folder, self.name, self.LOCKDIREXTENSION, self.TIMEOUT, poll_interval, self.OWNER)
        made = self._made
        if made is None or made[0] != given:
            if not isinstance(self.name, (str, os.PathLike)):
                raise TypeError(f"a lock's name is a str or a path, not {self.name!r}")
            name = self._place()
            if name and not _native.is_url(name):
                # The native part removes just one extension.
                name += ".lockdir"
            lock = native(
                name,
                timeout=self.TIMEOUT,
                owner=self.OWNER,
                poll_interval=poll_interval,
            )
            self._made = made = (given, lock)
        return made[1]

    def _status(self) -> Optional[Status]:
        return _look(self._lock())

    def _take(self, take: Callable[[_native.Lock], Optional[_native.Held]]) -> bool:
        try:
            held = take(self._lock())
        except (PatienceOver, ForeignLock):
            return False
        except OSError as error:
            if error.errno in _NOT_ACQUIRED:
                return False
            raise
        if held is None:
            return False
        base = self._base()
        if not _native.is_url(base):
            base = held.path
        self._holding = _Holding(_native.fork_generation(), base, held.keep(), held.token, _clock())
        self.lockingTime = time.time()
        return True

    def _mine(self) -> Optional[_Holding]:
        """Returns the holding of this instance, as far as it knows; ``None`` in a forked child."""
        holding = self._holding
        is_own = holding is not None and holding.made_in == _native.fork_generation()
        return holding if is_own else None

    def _restamp(self, timeout: object) -> None:
        """Gives the held lock a new timeout, counted from when it was locked."""
        holding = self._mine()
        if holding is None:
            return
        rest = seconds(timeout, "TIMEOUT") - (_clock() - holding.since)
        try:
            # Written so that NaN is passed on, and refused by the native part.
            native(holding.base, timeout=_SHORTEST if rest < _SHORTEST else rest).renew(holding.key)
        except LockLost:
            # Another holds it by now; `unlocking` returns false then.
            return
        if rest < _SHORTEST:
            # No lock can last shorter. When this returns, the lock is over, as requested.
            time.sleep(_SHORTEST)

    if not TYPE_CHECKING:
        # Hidden from type checkers, which would accept any attribute. Not a property, since a
        # subclass may have a plain `TIMEOUT = 5` in its body.
        def __setattr__(self, attribute: str, value: Any) -> None:
            if attribute == "TIMEOUT":
                self._restamp(value)
            if attribute == "name":
                object.__setattr__(self, "_folder", _currentFolder())
            object.__setattr__(self, attribute, value)

    def __repr__(self) -> str:
        return f"<lockbydir.{type(self).__name__} {shown(self.name)}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: "
            f"make one of the same name where it is needed"
        )


def _look(lock: _native.Lock) -> Optional[Status]:
    """Returns the status of the lock; ``None`` if the folder that it would be in does not exist."""
    try:
        return Status(**lock.status())
    except FileNotFoundError:
        return None


def _binds(status: Status) -> bool:
    """Returns true if others must respect the lock directory."""
    if status.state == "bare":
        return status.remaining != 0
    return status.state in ("held", "foreign")


def _currentFolder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        # It was removed: a relative name has no place until the program changes its directory.
        return ""


def _clock() -> float:
    """Returns the seconds on the clock by which locks expire."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
