"""``Lock``: the lock for threads and processes."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import warnings
from datetime import timedelta
from typing import Any, Callable, Iterable, Literal, NoReturn, Optional, TypeVar, Union

from lockbydir import _native
from lockbydir._errors import LockError
from lockbydir._facts import Status
from lockbydir._native import Held, HeldAll, seconds

Seconds = Union[float, timedelta]
Name = Union[str, "os.PathLike[str]"]
Owner = Union[Literal["process", "nobody"], int]
OnLost = Callable[[LockError], object]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_UNSET: Any = object()
_SHORTEST = 0.1
_LONGEST = 3650.0 * 24 * 3600


def patience_of(value: object) -> Optional[float]:
    """Returns a patience as a number of seconds; ``None`` is for ever."""
    return None if value is None else seconds(value, "patience")


def _checked(value: object, kind: type, name: str, what: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is {what}, not {type(value).__name__}: {value!r}")
    return value


def _path(value: object, name: str) -> str:
    """Returns a path as text; surrogates in it stand for bytes that are not valid text."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{name} is a str or a path of str, not {type(value).__name__}: {value!r}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"{name} cannot be the name of a file: {path!r}") from None
    return path


def shown(name: Name) -> str:
    """Returns a name in a form that may be shown: a URL without user, password and query."""
    path = os.fspath(name)
    return repr(_native.shown(path) if _native.is_url(path) else path)


def native(
    name: object,
    *,
    timeout: object = None,
    patience: object = 30.0,
    label: object = "",
    fenced: object = False,
    linger: object = 0.0,
    mode: int = 0o700,
    group: Optional[int] = None,
    renew: object = None,
    on_lost: Optional[OnLost] = None,
    owner: object = "process",
    poll_interval: Optional[float] = None,
    at_least: object = 0.0,
    slots: Optional[int] = None,
) -> _native.Lock:
    """Creates a lock of the native module, after checking the parameters."""
    path = _path(name, "a lock's name")
    if not (renew is None or isinstance(renew, bool)):
        raise TypeError(f"renew is a bool or None, not {type(renew).__name__}: {renew!r}")
    if not (on_lost is None or callable(on_lost)):
        raise TypeError(
            f"on_lost is None or what is called with the error, not "
            f"{type(on_lost).__name__}: {on_lost!r}"
        )
    if isinstance(owner, str):
        if owner not in ("process", "nobody"):
            raise ValueError(f'owner is "process", "nobody" or a PID, not {owner!r}')
        pid = None if owner == "process" else 0
    else:
        pid = _checked(owner, int, "owner", '"process", "nobody" or a PID')
        if not 0 < pid < 2**31:
            raise ValueError(f"owner is a PID from 1 on, not {pid}")
    if group is not None and not 0 <= _checked(group, int, "group", "a number (a GID)") < 2**32:
        raise ValueError(f"group is a GID, not {group}")
    if _checked(mode, int, "mode", "a number like 0o770") & ~0o777 or mode & 0o700 != 0o700:
        raise ValueError(f"mode is from 0o700 to 0o777, like 0o770, not {oct(mode)}")
    return _native.Lock(
        path,
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        patience=patience_of(patience),
        label=_checked(label, str, "label", "a str"),
        fenced=_checked(fenced, bool, "fenced", "a bool"),
        linger=seconds(linger, "linger"),
        mode=mode,
        group=group,
        renews=renew,
        on_lost=on_lost,
        owner=pid,
        poll_interval=poll_interval,
        at_least=seconds(at_least, "at_least"),
        slots=slots,
    )


def _check_holding(timeout: object, label: object, at_least: object) -> None:
    """Checks these options at once, rather than at the first acquisition."""
    if not 0 <= seconds(at_least, "at_least") <= _LONGEST:
        raise ValueError(f"at_least is from 0 seconds to ten years, not {at_least} s")
    lasts = _SHORTEST if timeout is None else seconds(timeout, "timeout")
    if not _SHORTEST <= lasts <= _LONGEST:
        raise ValueError(f"timeout is from 0.1 seconds to ten years, not {lasts} s")
    text: str = _checked(label, str, "label", "a str")
    if len(text) > 40 or not (text.isascii() and text.isprintable()):
        raise ValueError(f"label is at most 40 printable ASCII characters, not {text!r}")


def _warn_of_loss(error: LockError) -> None:
    """Reports a loss that no ``on_lost`` handles: to ``logging``, and once a lock as a warning."""
    logger = logging.getLogger("lockbydir")
    if logger.hasHandlers():
        logger.warning("%s", error)
    # The text names the lock, and the default filter shows each text once.
    warnings.warn(str(error), RuntimeWarning, stacklevel=2)


class Lock(_native.With):
    """A named lock across processes and threads.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with Lock(folder / "jobs", patience=30) as held:
    ...     held.is_held
    True

    Locks of the same name exclude each other: between processes, and between threads of one process.
    Threads may share one object: each has its own holding, and releases it. Unless it is
    ``reentrant``, a thread that holds it and acquires it again waits until patience is over, or gets
    a `WouldDeadlock` at once if patience has no end. The object may be created before or after a fork;
    acquire the lock after it. A forked child neither renews nor releases the holding of its parent.

    :param name: a path; the lock is the directory ``NAME.lockdir``, whose folder must exist. A
        relative path is relative to the current directory of this moment, even if the program changes
        it later. Or the URL of a lock on etcd, as a ``str``: ``"etcd://host:2379,host2:2379/jobs"``.
    :param timeout: a fixed time that the lock lasts, in seconds or as a ``timedelta``, from 0.1 s to
        ten years; then others may take it. It is stored in the lock, and everybody obeys it. ``None``:
        the lock is renewed, for 10 s at a time, as long as this process lives and the lock is held.
        **Not** how long a waiter waits, as ``timeout`` is in other packages: that is ``patience``.
    :param patience: how long a waiter waits, in seconds; 0 is one try, ``None`` is for ever.
    :param label: what the lock is held for, in at most 40 printable ASCII characters; others see
        it.
    :param fenced: keeps the directory, so that tokens ascend whatever happens to the clock.
    :param linger: how long, in seconds, the directory may stay after a release, so that this object
        acquires the lock again by one rename.
    :param mode: of the lock directory, from ``0o700`` to ``0o777``: ``0o770`` shares the lock with
        a group.
    :param group: the GID to share it with.
    :param renew: whether a thread renews the lock every third of its timeout, while it is held;
        ``None``: unless a ``timeout`` is given.
    :param on_lost: called with a `LockLost`, on a separate thread: at once when a renewal finds that
        the holding was ended; when renewals fail, after the deadline and one more try; when a renewal
        does not return, at the deadline, and the error says so; when the lock is not renewed, at the
        deadline. Others may hold the lock one margin later: 0.5 s for a timeout of 10 s.
        `Held.wait_lost` returns earlier, while a quarter of the timeout is left. Without ``on_lost`` a
        loss is a ``RuntimeWarning``, once a lock, and a warning of the logger ``lockbydir``.
    :param at_least: how long the lock stays held from its acquisition on, in seconds, even if it is
        released sooner: for a job that several hosts start at the same time by clocks that differ. A
        release before that returns at once, and leaves the lock to expire at that time. It is free
        sooner if this process is killed.
    :param owner: the process on whose life the lock depends, beside its timeout: ``"process"`` (when
        this process dies, the next waiter gets the lock at once), ``"nobody"``, or a PID.
    :param reentrant: whether a thread that holds the lock by this object may acquire it again: at once,
        with a `Held` of its own, and the last one to be released releases the lock. A loss ends all
        of them, and `Held.keep` of one hands all over.
    :raises TypeError: for a parameter of a wrong type.
    :raises ValueError: for a parameter of a wrong value.
    """

    __slots__ = ("__weakref__", "_native", "_patience", "_reentrant", "name")

    name: Name
    """The name, as given."""

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
        _check_holding(timeout, label, at_least)
        self._native = native(
            name,
            timeout=timeout,
            patience=patience,
            label=label,
            fenced=fenced,
            linger=linger,
            mode=mode,
            group=group,
            renew=renew,
            on_lost=_warn_of_loss if on_lost is None else on_lost,
            owner=owner,
            at_least=at_least,
        )
        self.name = name
        self._patience = patience_of(patience)
        self._reentrant: bool = _checked(reentrant, bool, "reentrant", "a bool")
        self._begin(self._native, self._patience, self._reentrant)

    @property
    def path(self) -> str:
        """The lock directory, as an absolute path; or a URL without user, password and query."""
        return self._native.path

    def acquire(self, patience: Optional[Seconds] = _UNSET) -> Held:
        """Waits for the lock while patience lasts; holds it until `Held.release` or `release`.

        Keep this object or the `Held`: once nothing refers to either, the lock is released, with a
        ``ResourceWarning``. So ``Lock("jobs").acquire()`` by itself holds nothing.

        :param patience: instead of the patience of the lock, in seconds; ``None`` is for ever.
        :raises PatienceOver: when the lock was still taken at the end of the patience.
        :raises WouldDeadlock: when this thread holds the lock by this object, and would wait for ever; on
            Linux also when this process, which has one thread, and others wait for each other.
        :raises ForeignLock: when what is at its path is not ours to touch.
        :raises LockUnavailable: when the engine of a URL cannot be reached.
        :raises OSError: when the lock directory cannot be created.
        """
        if patience is _UNSET:
            return self._acquire()
        return self._acquire(patience_of(patience))

    def try_acquire(self) -> Optional[Held]:
        """Tries once, without waiting; returns ``None`` if the lock is taken.

        As with `acquire`, keep this object or the `Held`: ``if Lock("jobs").try_acquire():`` holds
        nothing.

        :raises ForeignLock: when what is at its path is not ours to touch.
        :raises OSError: when the lock directory cannot be created.
        """
        return self._try_acquire()

    def release(self, key: Optional[str] = None) -> None:
        """Releases the holding that the calling thread acquired by `acquire` or `try_acquire` of this
        object; or, given a key, the holding of that key.

        A holding of another thread or of a ``with`` stays: its `Held` releases it.

        :param key: the key that `Held.keep` or the ``acquire`` of the shell returned.
        :raises NotHeld: when this thread has no such holding; as for a ``threading.Lock``, this is
            also a ``RuntimeError``.
        :raises LockLost: when the lock was already lost.
        :raises OSError: when the system refuses; then it may be tried again.
        """
        if key is not None:
            return self._native.release(key)
        self._release()

    def renew(self, key: str) -> None:
        """Renews the holding of this key: its timeout starts anew.

        :raises LockLost: when the holding of the key is over.
        """
        self._native.renew(key)

    def locked(self) -> bool:
        """Returns true if another acquisition would have to wait.

        :raises ForeignLock: when what is at its path is not ours to touch.
        :raises OSError: when nobody could acquire it, for example because its folder does not exist.
        """
        return self._native.is_locked()

    def status(self) -> Status:
        """Returns all that can be seen of the lock.

        :raises OSError: when it cannot be inspected, for example because its folder does not exist.
        """
        return Status(**self._native.status())

    def break_lock(self, *, force: bool = False) -> bool:
        """Ends a holding that expired or whose process is dead; returns true if there was one.

        :param force: ends any holding. Its holder notices this only at its next renewal, so until then
            two may believe that they hold the lock.
        """
        return self._native.break_lock(force)

    def __call__(self, function: _Function) -> _Function:
        """Decorates a function, so that it runs under the lock."""
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function!r} is asynchronous: decorate it by an AsyncLock")
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{function!r} is a generator, which runs after the call: take the lock within it"
            )
        if not callable(function):
            raise TypeError(f"a Lock decorates functions, not {function!r}")

        @functools.wraps(function)
        def under_lock(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return under_lock  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<lockbydir.Lock {shown(self.name)}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: "
            f"make one of the same name where it is needed"
        )


class Semaphore(_native.With):
    """A lock that up to ``slots`` may hold at once, each in a slot with a number of its own.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with Semaphore(folder / "gpu", 4) as held:
    ...     held.slot
    1

    `Held.slot` is a number from 1 on that nobody else has at the same time. A slot is a lock of its own,
    ``NAME.1`` to ``NAME.N``, with its own timeout, token and queue; `list_locks` shows them. Waiters queue
    in arrival order for the lock ``NAME``, which the first of them holds while it waits for any slot.
    Each caller chooses the number of slots: one that says 2 uses the first two of those that another has
    who says 4.

    :param name: as for `Lock`.
    :param slots: from 1 to 1000.
    :raises TypeError: for a parameter of a wrong type.
    :raises ValueError: for a parameter of a wrong value.

    The other parameters are those of `Lock`, for each slot.
    """

    __slots__ = ("__weakref__", "_native", "name", "slots")

    name: Name
    """The name, as given."""
    slots: int
    """The number of slots."""

    def __init__(
        self,
        name: Name,
        slots: int,
        *,
        timeout: Optional[Seconds] = None,
        patience: Optional[Seconds] = 30.0,
        label: str = "",
        fenced: bool = False,
        mode: int = 0o700,
        group: Optional[int] = None,
        renew: Optional[bool] = None,
        on_lost: Optional[OnLost] = None,
        owner: Owner = "process",
        at_least: Seconds = 0.0,
    ) -> None:
        _check_holding(timeout, label, at_least)
        if not 1 <= _checked(slots, int, "slots", "a number") <= 1000:
            raise ValueError(f"slots is from 1 to 1000, not {slots}")
        self._native = native(
            name,
            timeout=timeout,
            patience=patience,
            label=label,
            fenced=fenced,
            mode=mode,
            group=group,
            renew=renew,
            on_lost=_warn_of_loss if on_lost is None else on_lost,
            owner=owner,
            at_least=at_least,
            slots=slots,
        )
        self.name = name
        self.slots = slots
        self._begin(self._native, patience_of(patience), False)

    @property
    def path(self) -> str:
        """The lock directory of the first waiter, as an absolute path; or a URL without secrets."""
        return self._native.path

    def acquire(self, patience: Optional[Seconds] = _UNSET) -> Held:
        """Waits for a slot while patience lasts; holds it until `Held.release` or `release`.

        :param patience: instead of the patience of the semaphore, in seconds; ``None`` is for ever.
        :raises PatienceOver: when all slots were still taken at the end of the patience.
        """
        if patience is _UNSET:
            return self._acquire()
        return self._acquire(patience_of(patience))

    def try_acquire(self) -> Optional[Held]:
        """Tries once, without waiting; returns ``None`` if all slots are taken, or others wait."""
        return self._try_acquire()

    def release(self) -> None:
        """Releases the slot that the calling thread acquired by `acquire` or `try_acquire`.

        :raises NotHeld: when this thread has none.
        :raises LockLost: when it was already lost.
        """
        self._release()

    def __call__(self, function: _Function) -> _Function:
        """Decorates a function, so that it runs in a slot."""
        return Lock.__call__(self, function)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<lockbydir.Semaphore {shown(self.name)} of {self.slots}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Semaphore cannot be copied or pickled: make one of the same name where it is needed"
        )


def acquire_all(locks: Iterable[Lock], patience: Optional[Seconds] = _UNSET) -> HeldAll:
    """Acquires all of these locks or none: ``with acquire_all([Lock("a"), Lock("b")]) as held:``.

    They are acquired in the order of their resolved paths, which is the same for everybody, so that two
    processes that want the same locks do not wait for each other. Directories and URLs may be mixed.
    If one is lost, all count as lost.

    :param patience: for all together, instead of the patience of each lock, which counts from this call.
    :raises PatienceOver: when one of them was still taken at the end of the patience; none is held then.
    :raises ValueError: when there is none, or one is named twice, also by another spelling of its path.
    """
    natives = []
    for lock in locks:
        if not isinstance(lock, Lock):
            raise TypeError(f"locks are Lock objects, not {type(lock).__name__}: {lock!r}")
        natives.append(lock._native)
    if patience is _UNSET:
        return _native.acquire_all(natives)
    return _native.acquire_all(natives, patience_of(patience))


def list_locks(folder: Name = ".") -> list[Status]:
    """Returns the locks in this folder and below it, at most 128 folders deep.

    :param folder: a path, or a URL like ``"etcd://host:2379/team"``.
    :raises OSError: when the folder cannot be read.
    """
    return [Status(**facts) for facts in _native.list_locks(_path(folder, "folder"))]


def clean(folder: Name = ".") -> list[str]:
    """Removes what crashes left in this folder and below it; returns the removed paths.

    These are queues whose waiters are gone, free directories that lingered, and unfinished ones.
    The lock of a dead holder stays: the next one to acquire it learns of the death.

    :param folder: a path, or a URL like ``"etcd://host:2379/team"``.
    :raises OSError: when the folder cannot be read.
    """
    return _native.clean(_path(folder, "folder"))
