"""The observable facts of a lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional


@dataclass(frozen=True)
class Holder:
    """The holder of a lock, present or previous."""

    host: str
    """The name of its host."""
    pid: Optional[int]
    """The PID of its process, in its own namespace; ``None`` for a lock without a process."""
    child: Optional[int]
    """The PID of the command that it runs under the lock."""
    command: Optional[str]
    """The name of that command, or else of the process, where it can be seen."""
    label: Optional[str]
    """Its label: what it says it holds the lock for."""
    since: float
    """When it acquired the lock, in seconds since 1970, by its own clock."""


@dataclass(frozen=True)
class Predecessor:
    """The previous holder of a lock."""

    holder: Optional[Holder]
    """The holder; its command is not known any more. ``None`` for a bare lock, whose holder is unknown."""
    token: Optional[int]
    """Its token; a bare lock has none."""
    age: Optional[float] = None
    """The minimum age of a bare lock when it was removed, in seconds: the time since the last change of
    its directory."""


@dataclass(frozen=True)
class Ticket:
    """A waiter in the queue."""

    pid: Optional[int]
    """The PID of its process."""
    host: str
    """The name of its host."""
    command: Optional[str]
    """The name of its process, where it can be seen."""
    label: Optional[str]
    """Its label: what it says it wants the lock for."""
    waiting: float
    """How long it has waited, in seconds."""


@dataclass(frozen=True)
class Status:
    """All that can be seen of a lock at one moment."""

    name: str
    """The name, as given."""
    path: str
    """The lock directory."""
    state: Literal["free", "open", "held", "expired", "dead", "bare", "foreign"]
    """``free``, ``open`` (free, its directory kept), ``held``, ``expired``, ``dead``, ``bare`` (a
    plain directory, as an ``mkdir`` lock makes it) or ``foreign`` (not ours to touch)."""
    is_locked: bool
    """Whether another acquisition would have to wait."""
    token: Optional[int]
    """The token of the present or last holding, where it is known."""
    timeout: Optional[float]
    """The timeout in seconds, counted from the last renewal."""
    age: Optional[float]
    """Seconds since the last renewal."""
    remaining: Optional[float]
    """Seconds until the holding expires; zero after that."""
    holder: Optional[Holder]
    """The holder; for an expired or dead holding, the last one."""
    queue: tuple[Ticket, ...]
    """The waiters, in the order in which they will be served."""
    note: Optional[str]
    """A remark on an unusual state."""
