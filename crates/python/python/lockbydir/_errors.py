"""What can go wrong with a lock itself. What the system refuses is an ``OSError``, with its
``errno`` and ``filename``; a parameter that cannot be is a ``ValueError`` or a ``TypeError``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Optional

if TYPE_CHECKING:
    from lockbydir._facts import Holder

_LostReason = Optional[Literal["gone", "taken", "renewal failed", "released"]]


class LockError(Exception):
    """The lock is the reason: the base of all errors of our own."""

    path: Optional[str]
    """The lock directory, or the URL of the lock."""
    holder: Optional[Holder]
    """Who holds the lock, where that is known."""

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
    """The lock stayed taken while patience lasted; ``holder`` says by whom."""


class LockLost(LockError):
    """The lock is not ours any more: it expired, or was broken, or was released before."""

    reason: _LostReason
    """Why, for programs: ``"gone"`` (its entry is gone: somebody broke it, or released it by its
    key), ``"taken"`` (another holding has the lock; ``holder`` says whose, where that is known),
    ``"renewal failed"`` (it was not renewed before its deadline), or ``"released"`` (its `Held`
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
    """``release`` was called in a thread that holds nothing by this `Lock`."""


class WouldDeadlock(LockError, RuntimeError):
    """A thread or task that holds the lock would wait for itself, without an end."""


class ForeignLock(LockError):
    """What is at the lock's path is not ours to touch."""


class LockUnavailable(LockError, ConnectionError):
    """The engine that keeps the lock, such as an etcd server, is out of reach."""
