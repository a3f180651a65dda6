"""The native part; private except `Held`."""

from datetime import timedelta
from types import TracebackType
from typing import Any, Callable, Literal, NoReturn, Optional, SupportsIndex, Union, final

from typing_extensions import Self, disjoint_base

from lockbydir._facts import Predecessor

__version__: str
__all__ = [
    "Held",
    "HeldAll",
    "Interrupt",
    "Lock",
    "With",
    "__version__",
    "acquire_all",
    "clean",
    "fork_generation",
    "is_url",
    "list_locks",
    "seconds",
    "settle",
    "shown",
]

@final
class Interrupt:
    def __new__(cls) -> Interrupt: ...
    def set(self) -> None: ...

@final
class Lock:
    def __new__(
        cls,
        name: str,
        *,
        timeout: Optional[float],
        patience: Optional[float],
        label: str,
        fenced: bool,
        linger: float,
        mode: int,
        group: Optional[int],
        renews: Optional[bool],
        on_lost: Optional[Callable[..., object]],
        owner: Optional[int],
        poll_interval: Optional[float],
        at_least: float,
        slots: Optional[int],
    ) -> Lock: ...
    @property
    def path(self) -> str: ...
    def acquire(self, patience: Optional[float]) -> Held: ...
    def acquire_unless(self, patience: Optional[float], interrupt: Interrupt) -> Held: ...
    def try_acquire(self) -> Optional[Held]: ...
    def is_locked(self) -> bool: ...
    def status(self) -> dict[str, Any]: ...
    def break_lock(self, by_force: bool) -> bool: ...
    def renew(self, key: str) -> None: ...
    def release(self, key: str) -> None: ...

@disjoint_base
class With:
    def __new__(cls, *args: object, **options: object) -> Self: ...
    def _begin(self, lock: Lock, patience: Optional[float], reentrant: bool) -> None: ...
    def _acquire(self, *patience: Optional[float]) -> Held: ...
    def _try_acquire(self) -> Optional[Held]: ...
    def _release(self) -> None: ...
    def __enter__(self) -> Held: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> Literal[False]: ...

@final
class Held:
    """Proof of holding a lock; a context manager that releases the lock at its end.

    Dropping the last reference also releases the lock, with a ``ResourceWarning``: keep the object,
    and release it.
    """

    @property
    def token(self) -> int:
        """The fencing token: larger than that of every holding before."""
    @property
    def slot(self) -> Optional[int]:
        """The number of the slot, from 1 on; ``None`` unless it is one of a `Semaphore`."""
    @property
    def key(self) -> str:
        """The key, which renews and releases this holding from anywhere."""
    @property
    def path(self) -> str:
        """The lock directory."""
    @property
    def how(self) -> Literal["free", "handed over", "after expiry", "after death"]:
        """How the lock was acquired: ``free``, ``handed over``, ``after expiry`` or ``after death``.
        After the last two the work of the predecessor may be half done; only one successor sees this.
        A bare lock that was removed for its age is ``after expiry``, from an unknown holder whose work
        may go on."""
    @property
    def predecessor(self) -> Optional[Predecessor]:
        """The previous holder; ``None`` if there was none. Its ``holder`` is ``None`` for a bare lock."""
    @property
    def remaining(self) -> float:
        """How long the lock is still held for certain, in seconds, on a clock that runs during suspend.
        Zero when it has expired or is lost."""
    @property
    def is_held(self) -> bool:
        """Whether the lock is still held, judged by its deadline. Only reads a clock."""
    def renew(self) -> None:
        """Renews the lock: its timeout starts anew. Succeeds even after the expiry, if nobody took the lock.

        :raises LockLost: when the lock is another's or gone.
        :raises OSError: when the renewal failed and may be tried again.
        """
    def set_timeout(self, timeout: Union[float, timedelta]) -> None:
        """Gives the lock a new timeout, in seconds or as a ``timedelta``, counted from now.

        :raises LockLost: as `renew`.
        """
    def wait_lost(self, up_to: Union[float, timedelta]) -> bool:
        """Waits until the lock is known to be lost or is about to expire; returns false if neither
        happened within ``up_to`` seconds."""
    def _again(self) -> Optional[Held]: ...
    def keep(self) -> str:
        """Hands the holding over: this object does not release it any more, and the returned key
        renews and releases it from anywhere."""
    def release(self) -> None:
        """Releases the lock; only the first call does anything.

        :raises LockLost: when the lock was already lost.
        :raises OSError: when the system refuses; then it may be tried again.
        """
    def __enter__(self) -> Held: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> Literal[False]: ...
    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn: ...

@final
class HeldAll:
    """Proof of holding several locks; a context manager that releases them at its end.

    Dropping the last reference also releases the locks, with a ``ResourceWarning``: keep the object,
    and release it.
    """

    @property
    def tokens(self) -> list[int]:
        """The fencing tokens, in the order in which the locks were given."""
    @property
    def paths(self) -> list[str]:
        """The lock directories, in the order in which the locks were given."""
    @property
    def remaining(self) -> float:
        """How long all locks are still held for certain, in seconds. Zero when one has expired or is lost."""
    @property
    def is_held(self) -> bool:
        """Whether all locks are still held, judged by their deadlines."""
    def renew(self) -> None:
        """Renews all locks: their timeouts start anew.

        :raises LockLost: when one of them is another's or gone, or they were released.
        """
    def wait_lost(self, up_to: Union[float, timedelta]) -> bool:
        """Waits until one of the locks is known to be lost or is about to expire; returns false if none
        is within ``up_to`` seconds."""
    def release(self) -> None:
        """Releases all locks, in the reverse of the order in which they were acquired; only the first
        call does anything.

        :raises LockLost: when one of them was already lost.
        """
    def __enter__(self) -> HeldAll: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> Literal[False]: ...
    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn: ...

def acquire_all(locks: list[Lock], *patience: Optional[float]) -> HeldAll: ...
def seconds(value: object, name: str) -> float: ...
def is_url(name: str) -> bool: ...
def fork_generation() -> int: ...
def shown(name: str) -> str: ...
def settle() -> None: ...
def list_locks(folder: str) -> list[dict[str, Any]]: ...
def clean(folder: str) -> list[str]: ...
