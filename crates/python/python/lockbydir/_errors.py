"""The errors of locks. An error of the system is an ``OSError`` with its ``errno`` and ``filename``;
an invalid parameter is a ``ValueError`` or a ``TypeError``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Optional

if TYPE_CHECKING:
    from lockbydir._facts import Holder

_LostReason = Optional[Literal["gone", "taken", "renewal failed", "expired", "released"]]


class LockError(Exception):
    """The base class of all errors whose cause is a lock."""

    path: Optional[str]
    """The lock directory, or the URL of the lock."""
    holder: Optional[Holder]
    """The holder of the lock, where that is known."""

    def __init__(
        self,
        message: str,
        path: Optional[str] = None,
        holder: Optional[Holder] = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.holder = holder

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.path, self.holder))


class PatienceOver(LockError, TimeoutError):
    """The lock was still taken at the end of the patience; ``holder`` says by whom."""


class LockLost(LockError):
    """The lock is no longer held: it expired, was broken, or was released before."""

    reason: _LostReason
    """The reason, for programs: ``"gone"`` (its entry is gone: it was broken, or released by its
    key), ``"taken"`` (another holding has the lock; ``holder`` says whose, where that is known),
    ``"renewal failed"`` (it was not renewed before its deadline), ``"expired"`` (its timeout is over, and it is not renewed automatically), or ``"released"`` (its `Held`
    was released or handed over before)."""

    def __init__(
        self,
        message: str,
        path: Optional[str] = None,
        holder: Optional[Holder] = None,
        reason: _LostReason = None,
    ) -> None:
        super().__init__(message, path, holder)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.path, self.holder, self.reason))


class NotHeld(LockError, RuntimeError):
    """``release`` was called in a thread that does not hold the lock by this `Lock`."""


class WouldDeadlock(LockError, RuntimeError):
    """A thread or task that holds the lock would wait for itself for ever; or, on Linux, the holder waits,
    perhaps through others, for a lock that this process holds."""


class ForeignLock(LockError):
    """What is at the lock's path is not ours to touch."""


class LockUnavailable(LockError, ConnectionError):
    """The engine that keeps the lock, such as an etcd server, cannot be reached."""
