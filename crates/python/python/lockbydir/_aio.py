"""``AsyncLock``: the same lock for asyncio. A separate thread waits for each task, so that the event
loop is not blocked, and nothing of the loop is needed after a fork."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import threading
import weakref
from types import TracebackType
from typing import Any, Callable, Coroutine, NoReturn, Optional, TypeVar

from lockbydir import _native
from lockbydir._errors import WouldDeadlock
from lockbydir._facts import Status
from lockbydir._lock import _UNSET, Lock, Name, OnLost, Owner, Seconds, patience_of, shown
from lockbydir._native import Held

_Answer = TypeVar("_Answer")
_Coroutine = TypeVar("_Coroutine", bound=Callable[..., Coroutine[Any, Any, Any]])


def _begin(work: Callable[[], _Answer]) -> "asyncio.Future[_Answer]":
    """Does the work on a thread; the loop then sets the future, if it still runs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Answer] = loop.create_future()

    def settle(answer: Optional[_Answer], error: Optional[BaseException]) -> None:
        if future.done():
            _give_up(answer)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]

    def do() -> None:
        answer, error = None, None
        try:
            answer = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, answer, error)
        except RuntimeError:
            # The loop is closed: nobody waits for the answer any more.
            _give_up(answer)

    threading.Thread(target=do, name="lockbydir-task", daemon=True).start()
    return future


def _acquiring(acquire: Callable[[], Optional[Held]]) -> "asyncio.Future[list[Optional[Held]]]":
    """Like `_begin`, for acquisitions. The caller takes the holding out of the list: the thread may
    refer to its answer for a while, and a dropped holding must be collected at once."""
    return _begin(lambda: [acquire()])


def _give_up(answer: object) -> None:
    """Releases a holding that nobody will receive, and ignores errors."""
    for held in answer if isinstance(answer, list) else []:
        if isinstance(held, Held):
            with contextlib.suppress(Exception):
                held.release()


class AsyncHeld:
    """Proof of holding a lock, for asyncio; its release and renewals do not block the loop.

    Dropping the last reference also releases the lock, with a ``ResourceWarning``: keep the object,
    and release it.
    """

    __slots__ = ("__weakref__", "_held")

    def __init__(self, held: Held) -> None:
        self._held = held

    @property
    def held(self) -> Held:
        """The same holding for synchronous code."""
        return self._held

    @property
    def token(self) -> int:
        """The fencing token: larger than that of every holding before."""
        return self._held.token

    @property
    def key(self) -> str:
        """The key, which renews and releases this holding from anywhere."""
        return self._held.key

    @property
    def how(self) -> str:
        """``free``, ``handed over``, ``after expiry`` or ``after death``."""
        return self._held.how

    @property
    def remaining(self) -> float:
        """How long the lock is still held for certain, in seconds; zero when it has expired or is lost."""
        return self._held.remaining

    @property
    def is_held(self) -> bool:
        """Whether the lock is still held, judged by its deadline."""
        return self._held.is_held

    async def renew(self) -> None:
        """Renews the lock: its timeout starts anew.

        :raises LockLost: when the lock is another's or gone.
        """
        await asyncio.shield(_begin(self._held.renew))

    async def release(self) -> None:
        """Releases the lock; only the first call does anything.

        :raises LockLost: when the lock was already lost.
        :raises OSError: when the system refuses; then it may be tried again.
        """
        await asyncio.shield(_begin(self._held.release))

    async def __aenter__(self) -> AsyncHeld:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        leave = functools.partial(self._held.__exit__, kind, error, traceback)
        await asyncio.shield(_begin(leave))

    def __repr__(self) -> str:
        return repr(self._held).replace("lockbydir.Held", "lockbydir.AsyncHeld", 1)


class _Holding:
    """A lock that a task has acquired. Compared by identity, so that a list of them needs no mutex,
    which might be locked at a fork."""

    __slots__ = ("_task", "entered", "held")

    def __init__(self, held: AsyncHeld, is_entered: bool) -> None:
        task = asyncio.current_task()
        # Weak, since an ended task may have the `AsyncHeld` as its result.
        self._task = None if task is None else weakref.ref(task)
        self.held = weakref.ref(held)
        self.entered = held if is_entered else None
        """The same object, if an ``async with`` will release it."""

    def is_own(self) -> bool:
        """Returns true if the current task acquired it."""
        return self._task is not None and self._task() is asyncio.current_task()


class AsyncLock:
    """A `Lock` for asyncio: ``async with AsyncLock("jobs") as held:``.

    Takes the parameters of `Lock`; ``reentrant`` counts for a task instead of a thread. Tasks may share one object: each has its own holding. A task that
    is cancelled while it waits has left the queue before its ``CancelledError`` is raised.
    ``on_lost`` is called on a thread: use ``call_soon_threadsafe``.
    """

    __slots__ = ("__weakref__", "_holdings", "_lock")

    def __init__(
        self,
        name: Name,
        *,
        timeout: Optional[Seconds] = None,
        patience: Optional[Seconds] = 30.0,
        label: str = "",
        fenced: bool = False,
        linger: Seconds = 0.0,
        mode: int = 0o700,
        group: Optional[int] = None,
        renew: Optional[bool] = None,
        on_lost: Optional[OnLost] = None,
        owner: Owner = "process",
        reentrant: bool = False,
        at_least: Seconds = 0.0,
    ) -> None:
        self._lock = Lock(
            name,
            timeout=timeout,
            patience=patience,
            label=label,
            fenced=fenced,
            linger=linger,
            mode=mode,
            group=group,
            renew=renew,
            on_lost=on_lost,
            owner=owner,
            reentrant=reentrant,
            at_least=at_least,
        )
        self._holdings: list[_Holding] = []

    @property
    def name(self) -> Name:
        """The name, as given."""
        return self._lock.name

    @property
    def path(self) -> str:
        """The lock directory, as an absolute path."""
        return self._lock.path

    async def acquire(self, patience: Optional[Seconds] = _UNSET) -> AsyncHeld:
        """Waits for the lock while patience lasts; holds it until `AsyncHeld.release`.

        Keep the returned object: once nothing refers to it, the lock is released, with a
        ``ResourceWarning``.

        :param patience: instead of the patience of the lock, in seconds; ``None`` is for ever.
        :raises PatienceOver: when the lock was still taken at the end of the patience.
        :raises WouldDeadlock: when this task holds the lock by this object, and would wait for ever.
        """
        return self._remember(await self._wait(patience))

    async def try_acquire(self) -> Optional[AsyncHeld]:
        """Tries once, without waiting; returns ``None`` if the lock is taken.

        As with `acquire`, keep the returned object.
        """
        again = self._again()
        if again is not None:
            return self._remember(again)
        lock = self._lock._native
        held = await _taken(_acquiring(lock.try_acquire), _native.Interrupt())
        return None if held is None else self._remember(AsyncHeld(held))

    async def _wait(self, patience: Optional[Seconds] = _UNSET) -> AsyncHeld:
        again = self._again()
        if again is not None:
            return again
        lock = self._lock
        lasts = lock._patience if patience is _UNSET else patience_of(patience)
        if lasts is None or lasts == math.inf:
            self._check_for_deadlock()
        interrupt = _native.Interrupt()
        waiting = _acquiring(lambda: lock._native.acquire_unless(lasts, interrupt))
        held = await _taken(waiting, interrupt)
        assert held is not None
        return AsyncHeld(held)

    def _own(self) -> list[AsyncHeld]:
        """Returns what the current task holds by this object."""
        own = [one.held() for one in list(self._holdings) if one.is_own()]
        return [held for held in own if held is not None and held.is_held]

    def _again(self) -> Optional[AsyncHeld]:
        """Returns another part of the holding that the current task has, if the lock is reentrant and
        it has one."""
        if self._lock._reentrant:
            for held in reversed(self._own()):
                again = held.held._again()
                if again is not None:
                    return AsyncHeld(again)
        return None

    def _check_for_deadlock(self) -> None:
        if self._own():
            raise WouldDeadlock(
                f"cannot acquire {self.path}: this task holds it by the same AsyncLock, and "
                f"would wait for itself for ever; release it first, or give a patience",
                self.path,
            )

    def _remember(self, held: AsyncHeld, entered: bool = False) -> AsyncHeld:
        for past in [one for one in self._holdings if one.held() is None]:
            with contextlib.suppress(ValueError):  # A loop in another thread removed it.
                self._holdings.remove(past)
        self._holdings.append(_Holding(held, entered))
        return held

    async def locked(self) -> bool:
        """Returns true if another acquisition would have to wait."""
        return await _begin(self._lock.locked)

    async def status(self) -> Status:
        """Returns all that can be seen of the lock."""
        return await _begin(self._lock.status)

    async def break_lock(self, *, force: bool = False) -> bool:
        """Ends a stale holding, or with ``force`` any holding; returns true if there was one."""
        return await _begin(functools.partial(self._lock.break_lock, force=force))

    async def __aenter__(self) -> AsyncHeld:
        return self._remember(await self._wait(), entered=True)

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        entered = [one for one in self._holdings if one.entered is not None]
        # A generator may leave the block in another task than it entered it.
        own = [one for one in entered if one.is_own()] or entered
        if not own:
            raise RuntimeError("this AsyncLock was not entered by an `async with`")
        self._holdings.remove(own[-1])
        held = own[-1].entered
        assert held is not None
        await held.__aexit__(kind, error, traceback)

    def __call__(self, function: _Coroutine) -> _Coroutine:
        """Decorates a coroutine function, so that it runs under the lock."""
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"an AsyncLock decorates coroutine functions, not {function!r}")

        @functools.wraps(function)
        async def under_lock(*args: Any, **kwargs: Any) -> Any:
            async with self:
                return await function(*args, **kwargs)

        return under_lock  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<lockbydir.AsyncLock {shown(self.name)}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "an AsyncLock cannot be copied or pickled: make one of the same name where it is needed"
        )


async def _taken(
    waiting: "asyncio.Future[list[Optional[Held]]]", interrupt: _native.Interrupt
) -> Optional[Held]:
    """Returns the holding that a thread acquires. If this task is cancelled, the holding is released
    before the cancellation is visible."""
    made_in = _native.fork_generation()
    try:
        await asyncio.wait([waiting])
    except asyncio.CancelledError:
        interrupt.set()
        if await _settled(waiting, made_in):
            got = None if waiting.exception() else waiting.result().pop()
            if got is not None:
                await _given_back(got)
        raise
    return waiting.result().pop()


async def _given_back(held: Held) -> None:
    """Releases a holding that nobody will receive, and ignores a loss."""
    made_in = _native.fork_generation()
    giving = _begin(held.release)
    if await _settled(giving, made_in):
        giving.exception()


async def _settled(future: "asyncio.Future[Any]", made_in: int) -> bool:
    """Waits for the end of the future, which is near, however often this task is cancelled meanwhile.
    Returns false in a forked child, which lacks the thread that sets it: both belong to the parent."""
    while not future.done():
        if _native.fork_generation() != made_in:
            return False
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    return True
