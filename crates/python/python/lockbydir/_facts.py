"""What can be seen of a lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, or held it."""

    host: str
    """Its host."""
    pid: Optional[int]
    """Its process, by the PID in its own namespace; none for a lock without a process."""
    child: Optional[int]
    """The command that it runs under the lock."""
    command: Optional[str]
    """What that command, or else the process, is called, where it can be seen."""
    label: Optional[str]
    """What it says it holds the lock for."""
    since: float
    """Since when, in seconds since 1970, by its own clock."""


@dataclass(frozen=True)
class Predecessor:
    """Who held a lock before."""

    holder: Optional[Holder]
    """Who it was; what it ran is not known any more. None for a bare lock: nobody knows who made it."""
    token: Optional[int]
    """Its token; a bare lock has none."""
    age: Optional[float] = None
    """How old a bare lock was, at least, when it was removed, in seconds: since the last change of its
    directory."""


@dataclass(frozen=True)
class Ticket:
    """One who queues."""

    pid: Optional[int]
    """Its process."""
    host: str
    """Its host."""
    command: Optional[str]
    """What its process is called, where it can be seen."""
    label: Optional[str]
    """What it waits for."""
    waiting: float
    """How long already, in seconds."""


@dataclass(frozen=True)
class Status:
    """All that can be seen of a lock at one moment."""

    name: str
    """Its name, as given."""
    path: str
    """The lock directory."""
    state: str
    """``free``, ``open`` (free, its directory kept), ``held``, ``expired``, ``dead``, ``bare`` (a
    plain directory, as an ``mkdir`` lock makes it) or ``foreign`` (not ours to touch)."""
    is_locked: bool
    """Must the next one wait?"""
    token: Optional[int]
    """The number of the present or last holding, where it is known."""
    timeout: Optional[float]
    """How long a renewal lasts, in seconds."""
    age: Optional[float]
    """Seconds since the last renewal."""
    remaining: Optional[float]
    """Seconds until it may expire; zero when it has."""
    holder: Optional[Holder]
    """Who holds it, or held it when it expired or died."""
    line: tuple[Ticket, ...]
    """Who waits, in the order in which they will be served."""
    note: Optional[str]
    """A word on what is odd about it."""
