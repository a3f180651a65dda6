"""``DLock``: the interface of the first version, name by name, on the locks of this one.

The names are those of Andreas Krueger's ``lockbydir.py`` (2015), so that programs written for it
run as they are. What it left open is solved: the timeout is the holder's and lives in the lock, and
of all who find a lock timed out, exactly one gets it.
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
"""How long one waits, in seconds, unless the instance says otherwise."""
CHECKEVERYXSECONDS = 0.03
"""How often a waiter looks where nothing tells it of a change, in seconds."""
REMOVETIMEDOUT = True
"""Does ``isLocked`` remove a timed-out lock directory?"""
LOCKDIREXTENSION = ".lockdir"
"""What follows the name in that of the directory."""

_NOT_ACQUIRED = {errno.EEXIST, errno.EACCES, errno.EPERM, errno.EPROTO, errno.ENOSPC}
"""While the directory is made, these mean: not acquired, try again while patience lasts."""
_SHORTEST = 0.1
"""The shortest timeout that a lock can have, in seconds."""
_SHORTEST_PAUSE = 0.001


class _Holding(NamedTuple):
    """What an instance knows of its lock. A key only: nothing is let go of when it is dropped."""

    made_in: int
    """The `fork_generation` of the process that holds it."""
    base: str
    """The lock directory's absolute path: neither a new ``name`` nor a ``chdir`` misleads. Or the
    URL, as it was given."""
    key: str
    token: int
    since: float
    """On the clock that runs in suspend."""


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
    whose ``__init__`` calls ``DLock.__init__`` first. Instances of the same name, here and in other
    processes, share one lock; so do ``Lock`` and the command ``lockbydir``.

    What has changed: the lock lasts as long as its *holder's* ``TIMEOUT`` says, whatever that of
    the others is; a process that dies frees its lock at once (see ``OWNER``); waiters stand in
    line.

    Dropping an instance unlocks nothing: the lock stays until it times out or the process ends.
    What is locked before a fork belongs to the parent; the child's copy of the instance does not
    own it. Threads that share an instance share what it owns: any of them unlocks it. Make one
    instance for each thread.

    :param name: a path; the lock is the directory ``NAME.lockdir``, whose folder must exist. A
        relative one begins at the directory that is the current one now, wherever the program goes
        later. Or the URL of a lock on etcd, which has no directory: then ``exists`` says whether it
        is locked.
    :raises ValueError: when no lock can have this name.
    :raises TypeError: when it is neither a ``str`` nor a path.
    """

    TIMEOUT: Seconds = TIMEOUT
    """After so many seconds the lock opens by itself, from 0.1 s to ten years. It counts for what
    this instance locks. Setting it while the lock is held makes the lock last that long, counted
    from when it was locked; one that is over by then opens it at once (0.1 s later: it returns
    when it is open)."""
    PATIENCE: Optional[Seconds] = PATIENCE
    """After so many seconds a waiter gives up; 0 is one try, ``None`` or infinity is for ever."""
    CHECKEVERYXSECONDS: float = CHECKEVERYXSECONDS
    """How often to look, in seconds, where nothing tells of a change; less than 0.001 s counts as
    0.001 s. On one host a waiter for the lock is woken at once, whatever this is."""
    REMOVETIMEDOUT: bool = REMOVETIMEDOUT
    """Does ``isLocked`` remove a timed-out lock directory? Either way it counts as open."""
    LOCKDIREXTENSION: str = LOCKDIREXTENSION
    """What follows the name in that of the directory. It must end in ``.lockdir``, like
    ``.web.lockdir``: only such a directory can be a lock that all others understand. Any other is a
    ``ValueError`` when it is used. Different extensions make different locks."""
    OWNER: Owner = "process"
    """On whose life the lock depends, beside its timeout: ``"process"`` (this one), ``"nobody"``
    (as in the first version: only the timeout opens what was forgotten), or a PID."""

    name: Name
    """The name, as given; setting it makes this instance one of another lock."""
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

    # What one uses.

    def LoopWhileLocked_ThenLocking(self) -> bool:
        """Waits until the lock is open or timed out, then locks it.

        "Exists, access denied, protocol error, no space" mean: try again while patience lasts.

        :returns: true when this instance holds the lock; false when ``PATIENCE`` is gone.
        :raises OSError: for any other trouble, such as a folder that does not exist.
        :raises ValueError: when ``TIMEOUT``, ``PATIENCE`` or the name cannot be.
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
        """One try to lock, without waiting. A timed-out lock is as good as none.

        :returns: true when this instance holds the lock now; false when somebody does, be it this
            instance itself, or when the directory cannot be made for now.
        :raises OSError: for any other trouble, such as a folder that does not exist.
        """
        return self._take(lambda lock: lock.try_acquire())

    def isLocked(self) -> bool:
        """Does the lock exist, and has it not timed out?

        Removes a timed-out lock directory, unless ``REMOVETIMEDOUT`` is false.
        """
        if self.existsAndNotTimedOut():
            return True
        if self.REMOVETIMEDOUT:
            self.removeIfTimedOut()
        return False

    def loopWhileLocked(self) -> bool:
        """Waits until the lock is open, or until ``PATIENCE`` is gone, and does not lock it.

        Others may lock it right after. To lock, use ``LoopWhileLocked_ThenLocking``: that stands in
        line, this one looks every ``CHECKEVERYXSECONDS``.

        :returns: false when it was open at once; true when there was something to wait for.
        """
        self.startWaiting()
        waited = False
        while self.isLocked() and self.stillPatience():
            waited = True
            self._pause()
        return waited

    def breakLock(self) -> bool:
        """Removes the lock, whoever holds it.

        Its holder learns of it by ``unlocking`` only, which says false: until then two may believe
        that they hold the lock. A timed-out lock needs no breaking.

        :returns: true when there was one.
        :raises ForeignLock: when what is there is not a lock.
        :raises OSError: when the system refuses.
        """
        try:
            return self._lock().break_lock(True)
        except FileNotFoundError:
            return False

    # Looks.

    def dirname(self) -> str:
        """The lock directory: the name and ``LOCKDIREXTENSION``, relative if the name is; the URL
        of a lock that has none, without its secrets."""
        if _native.is_url(self._base()):
            return self._lock().path
        return self._base() + ".lockdir"

    def exists(self) -> bool:
        """Is there a lock directory, timed out or not?"""
        if _native.is_url(self._base()):
            status = self._status()
            return status is not None and status.state not in ("free", "open")
        return os.path.lexists(self._place() + ".lockdir")

    def age(self) -> float:
        """Seconds since the last change of the lock; -1 if there is none, or it cannot be read.

        Locking is a change, and so is a new ``TIMEOUT`` of the holder's.
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
        """Is there a lock directory that binds nobody any more?

        So it is when its holder's timeout has passed, or its holder is dead. A directory that a
        plain ``mkdir`` made has no timeout of its own: for that one, ``TIMEOUT`` counts.
        """
        status = self._status()
        return status is not None and status.state != "free" and not _binds(status)

    def existsAndNotTimedOut(self) -> bool:
        """Is there a lock directory that has not timed out?"""
        status = self._status()
        return status is not None and _binds(status)

    # Helpers.

    def removeIfTimedOut(self) -> bool:
        """Removes a timed-out lock directory, and never one that was locked anew meanwhile.

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
        """From now on, patience counts."""
        self.startedWaitingTime = time.time()
        self._patienceFrom = time.monotonic()

    def stillPatience(self) -> bool:
        """Is less than ``PATIENCE`` gone since ``startWaiting``?"""
        left = self._patienceLeft()
        return left is None or left > 0

    # Below: nothing of the first version's.

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
        """As `_base`, and absolute: where the name was set, wherever the program is now."""
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
        # The directory itself, as for all others.
        directory = base.rstrip("/")
        if directory.endswith(".lockdir") and not _native.is_url(base):
            return directory[: -len(".lockdir")]
        return base

    def _lock(self) -> _native.Lock:
        """The lock as the attributes have it now."""
        poll_interval = seconds(self.CHECKEVERYXSECONDS, "CHECKEVERYXSECONDS")
        given = (self._folder, self.name, self.LOCKDIREXTENSION, self.TIMEOUT, poll_interval, self.OWNER)
        made = self._made
        if made is None or made[0] != given:
            if not isinstance(self.name, (str, os.PathLike)):
                raise TypeError(f"a lock's name is a str or a path, not {self.name!r}")
            name = self._place()
            if name and not _native.is_url(name):
                # The native part takes just one extension away.
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
        """What this instance holds, as far as it knows; nothing in a forked child."""
        holding = self._holding
        is_own = holding is not None and holding.made_in == _native.fork_generation()
        return holding if is_own else None

    def _restamp(self, timeout: object) -> None:
        """Makes the lock that is held last so long, counted from when it was locked."""
        holding = self._mine()
        if holding is None:
            return
        rest = seconds(timeout, "TIMEOUT") - (_clock() - holding.since)
        try:
            # Written so that what is not a number is refused by the native part.
            native(holding.base, timeout=_SHORTEST if rest < _SHORTEST else rest).renew(holding.key)
        except LockLost:
            # It is another's by now; `unlocking` tells.
            return
        if rest < _SHORTEST:
            # No lock can be made to last that short. When this returns it is over, as was asked.
            time.sleep(_SHORTEST)

    if not TYPE_CHECKING:
        # Not for the eyes of type checkers, which would let any attribute pass. And no property:
        # a subclass may have a plain `TIMEOUT = 5` in its body.
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
    """None where there is not even the folder that the lock would be in."""
    try:
        return Status(**lock.status())
    except FileNotFoundError:
        return None


def _binds(status: Status) -> bool:
    """Must others respect what is there?"""
    if status.state == "bare":
        return status.remaining != 0
    return status.state in ("held", "foreign")


def _currentFolder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        # It was removed: then a relative name has no place until the program goes elsewhere.
        return ""


def _clock() -> float:
    """Seconds on the clock by which locks expire."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
