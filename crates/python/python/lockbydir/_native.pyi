"""The native part: private, but for `Held`."""

from datetime import timedelta
from types import TracebackType
from typing import Any, Callable, NoReturn, Optional, SupportsIndex, Union, final

from typing_extensions import Self, disjoint_base

from lockbydir._facts import Predecessor

__version__: str
__all__ = [
    "Held",
    "Interrupt",
    "Lock",
    "With",
    "__version__",
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
        timeout: float,
        patience: Optional[float],
        label: str,
        fenced: bool,
        linger: float,
        mode: int,
        group: Optional[int],
        renews: bool,
        on_lost: Optional[Callable[..., object]],
        owner: Optional[int],
        poll_interval: Optional[float],
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
    def _begin(self, lock: Lock, patience: Optional[float]) -> None: ...
    def _acquire(self, *patience: Optional[float]) -> Held: ...
    def _try_acquire(self) -> Optional[Held]: ...
    def _release(self) -> None: ...
    def __enter__(self) -> Held: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> bool: ...

@final
class Held:
    """Proof of holding a lock; a context manager that releases it at its end.

    Whoever drops the last reference to it releases the lock, too, with a ``ResourceWarning``: keep
    it, and release it.
    """

    @property
    def token(self) -> int:
        """The fencing token: larger than that of every holding before."""
    @property
    def key(self) -> str:
        """What renews and releases this holding from anywhere."""
    @property
    def path(self) -> str:
        """The lock directory."""
    @property
    def how(self) -> str:
        """How the lock was got: ``free``, ``handed over``, ``after expiry`` or ``after death``. After the
        last two the predecessor's work may be half done; one successor is told. A bare lock that was
        removed for its age is ``after expiry``, from an unknown holder who may work on."""
    @property
    def predecessor(self) -> Optional[Predecessor]:
        """Who held the lock before; ``None`` where there was nobody. Its ``holder`` is ``None`` for a bare lock."""
    @property
    def remaining(self) -> float:
        """How long the lock is still held for certain, in seconds, on a clock that runs in suspend. Zero
        when it is over or lost."""
    @property
    def is_held(self) -> bool:
        """Is the lock still held, as far as its deadline tells? Reads a clock only."""
    def renew(self) -> None:
        """Renews the lock: its timeout counts anew. Succeeds even late, if nobody took the lock.

        :raises LockLost: when the lock is somebody else's or gone.
        :raises OSError: when the renewal failed and may be tried again.
        """
    def set_timeout(self, timeout: Union[float, timedelta]) -> None:
        """Gives the lock a new timeout, in seconds or as a ``timedelta``, counted from now.

        :raises LockLost: as `renew`.
        """
    def wait_lost(self, up_to: Union[float, timedelta]) -> bool:
        """Waits until the lock is known to be lost or about to be over; false when neither happened
        within so many seconds."""
    def keep(self) -> str:
        """Hands the holding over: it is not released with this object any more, and the key that is
        returned renews and releases it from anywhere."""
    def release(self) -> None:
        """Releases the lock; only the first time does anything.

        :raises LockLost: when it was not ours any more.
        :raises OSError: when the system refuses; then it may be tried again.
        """
    def __enter__(self) -> Held: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> bool: ...
    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn: ...

def seconds(value: object, name: str) -> float: ...
def is_url(name: str) -> bool: ...
def fork_generation() -> int: ...
def shown(name: str) -> str: ...
def settle() -> None: ...
def list_locks(folder: str) -> list[dict[str, Any]]: ...
def clean(folder: str) -> list[str]: ...
