"""``Lock``: what Python people use."""

from __future__ import annotations

import functools
import inspect
import os
from datetime import timedelta
from typing import Any, Callable, Literal, NoReturn, Optional, TypeVar, Union

from lockbydir import _native
from lockbydir._errors import LockError
from lockbydir._facts import Status
from lockbydir._native import Held, seconds

Seconds = Union[float, timedelta]
Name = Union[str, "os.PathLike[str]"]
Owner = Union[Literal["process", "nobody"], int]
OnLost = Callable[[LockError], object]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_UNSET: Any = object()
_SHORTEST = 0.1
_LONGEST = 3650.0 * 24 * 3600


def patience_of(value: object) -> Optional[float]:
    """A number of seconds, or none for ever."""
    return None if value is None else seconds(value, "patience")


def _checked(value: object, kind: type, name: str, what: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is {what}, not {type(value).__name__}: {value!r}")
    return value


def _path(value: object, name: str) -> str:
    """A path of text, which may have the surrogates that stand for bytes that are none."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{name} is a str or a path of str, not {type(value).__name__}: {value!r}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"{name} cannot be the name of a file: {path!r}") from None
    return path


def shown(name: Name) -> str:
    """A name as it may be shown: of a URL no user, password and query."""
    path = os.fspath(name)
    return repr(_native.shown(path) if _native.is_url(path) else path)


def native(
    name: object,
    *,
    timeout: object = 10.0,
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
) -> _native.Lock:
    """A lock of the native module, from parameters that are looked at here."""
    path = _path(name, "a lock's name")
    if not (renew is None or isinstance(renew, str)):
        raise TypeError(f'renew is None or "auto", not {type(renew).__name__}: {renew!r}')
    if renew not in (None, "auto"):
        raise ValueError(f'renew is None or "auto", not {renew!r}')
    if not (on_lost is None or callable(on_lost)):
        raise TypeError(
            f"on_lost is None or what is called with the error, not "
            f"{type(on_lost).__name__}: {on_lost!r}"
        )
    if on_lost is not None and renew != "auto":
        raise ValueError('on_lost is told by the thread that renews: it needs renew="auto"')
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
        timeout=seconds(timeout, "timeout"),
        patience=patience_of(patience),
        label=_checked(label, str, "label", "a str"),
        fenced=_checked(fenced, bool, "fenced", "a bool"),
        linger=seconds(linger, "linger"),
        mode=mode,
        group=group,
        renews=renew == "auto",
        on_lost=on_lost,
        owner=pid,
        poll_interval=poll_interval,
    )


def _check_holding(timeout: object, label: object) -> None:
    """At once, rather than when the lock is wanted."""
    lasts = seconds(timeout, "timeout")
    if not _SHORTEST <= lasts <= _LONGEST:
        raise ValueError(f"timeout is from 0.1 seconds to ten years, not {lasts} s")
    text: str = _checked(label, str, "label", "a str")
    if len(text) > 40 or not (text.isascii() and text.isprintable()):
        raise ValueError(f"label is at most 40 printable ASCII characters, not {text!r}")


class Lock(_native.With):
    """A lock across processes and threads, by a name.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with Lock(folder / "jobs", timeout=10, patience=30) as held:
    ...     held.is_held
    True

    All who use the same name exclude each other: processes, and threads of one process. Threads may
    share one object: each holds, and releases, on its own. It is not reentrant: a thread that holds
    it and asks again waits until patience is over, or gets a `WouldDeadlock` at once where patience
    has no end. Make it once, before or after a fork; hold it after. What a parent holds, a forked
    child neither renews nor releases.

    :param name: a path; the lock is the directory ``NAME.lockdir``, whose folder must exist. A
        relative one begins at the directory that is the current one now, wherever the program goes
        later. Or the URL of a lock on etcd, as a ``str``: ``"etcd://host:2379,host2:2379/jobs"``.
    :param timeout: how long the lock lasts unless renewed, in seconds or as a ``timedelta``, from
        0.1 s to ten years. It lives in the lock, and all others obey it. Longer than the work
        should take. **Not** how long one waits, as ``timeout`` is in other packages: that is
        ``patience``.
    :param patience: how long one waits, in seconds; 0 is one try, ``None`` for ever.
    :param label: what the lock is held for, in at most 40 printable ASCII characters; others see
        it.
    :param fenced: the directory stays, so that tokens grow whatever happens to the clock.
    :param linger: how long, in seconds, the directory may stay after a release, so that this object
        gets the lock again by one rename.
    :param mode: of the lock directory, from ``0o700`` to ``0o777``: ``0o770`` shares the lock with
        a group.
    :param group: the GID to share it with.
    :param renew: ``"auto"`` has a thread renew the lock every third of its timeout, while it is
        held.
    :param on_lost: called with a `LockLost`, in a thread of its own: at once when a renewal finds that
        the holding was ended; when renewals fail, after the deadline and one more try; when a renewal
        does not answer, at the deadline, and the error says so. Others may hold the lock a margin later: 0.5 s
        for a timeout of 10 s. `Held.wait_lost` returns earlier, while a quarter of the timeout is left.
    :param owner: on whose life the lock depends, beside its timeout: ``"process"`` (when this
        process dies, the next one has the lock at once), ``"nobody"``, or a PID.
    :raises TypeError: for a parameter of a wrong type, ValueError for one of a wrong value.
    """

    __slots__ = ("__weakref__", "_native", "_patience", "name")

    name: Name
    """The name, as given."""

    def __init__(
        self,
        name: Name,
        *,
        timeout: Seconds = 10.0,
        patience: Optional[Seconds] = 30.0,
        label: str = "",
        fenced: bool = False,
        linger: Seconds = 0.0,
        mode: int = 0o700,
        group: Optional[int] = None,
        renew: Optional[Literal["auto"]] = None,
        on_lost: Optional[OnLost] = None,
        owner: Owner = "process",
    ) -> None:
        _check_holding(timeout, label)
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
            on_lost=on_lost,
            owner=owner,
        )
        self.name = name
        self._patience = patience_of(patience)
        self._begin(self._native, self._patience)

    @property
    def path(self) -> str:
        """The lock directory, as an absolute path; or a URL without user, password and query."""
        return self._native.path

    def acquire(self, patience: Optional[Seconds] = _UNSET) -> Held:
        """Waits while patience lasts, then holds the lock until `Held.release` or `release`.

        Keep this object or the `Held`: once nothing refers to either, the lock is released, with a
        ``ResourceWarning``. So ``Lock("jobs").acquire()`` by itself holds nothing.

        :param patience: instead of the lock's own, in seconds; ``None`` for ever.
        :raises PatienceOver: when the lock stayed taken.
        :raises WouldDeadlock: when this thread holds it by this object, and would wait for ever.
        :raises ForeignLock: when what is at its path is not ours to touch.
        :raises LockUnavailable: when the engine of a URL is out of reach.
        :raises OSError: when it cannot be made.
        """
        if patience is _UNSET:
            return self._acquire()
        return self._acquire(patience_of(patience))

    def try_acquire(self) -> Optional[Held]:
        """One try, without waiting: ``None`` when the lock is taken.

        As with `acquire`, keep this object or the `Held`: ``if Lock("jobs").try_acquire():`` holds
        nothing.

        :raises ForeignLock: when what is at its path is not ours to touch.
        :raises OSError: when it cannot be made.
        """
        return self._try_acquire()

    def release(self, key: Optional[str] = None) -> None:
        """Releases what the calling thread acquired by `acquire` or `try_acquire` of this object.
        Or, given a key, the holding of that key.

        What another thread or a ``with`` has acquired stays: its `Held` releases that.

        :param key: what `Held.keep` or the shell's ``acquire`` gave.
        :raises NotHeld: when there is nothing of this thread's to release; as for a
            ``threading.Lock``, this is a ``RuntimeError``, too.
        :raises LockLost: when it was not ours any more.
        :raises OSError: when the system refuses; then it may be tried again.
        """
        if key is not None:
            return self._native.release(key)
        self._release()

    def renew(self, key: str) -> None:
        """Renews the holding of this key; its timeout counts anew.

        :raises LockLost: when the key holds the lock no more.
        """
        self._native.renew(key)

    def locked(self) -> bool:
        """Must the next one wait?

        :raises ForeignLock: when what is at its path is not ours to touch.
        :raises OSError: when nobody could acquire it; so where its folder does not exist.
        """
        return self._native.is_locked()

    def status(self) -> Status:
        """All that can be seen of the lock.

        :raises OSError: when it cannot be looked at; so where its folder does not exist.
        """
        return Status(**self._native.status())

    def break_lock(self, *, force: bool = False) -> bool:
        """Ends the hold of one that expired or whose process is dead; true if there was one.

        :param force: ends any hold. Its holder learns of it at its next renewal only, so until then
            two may believe that they hold the lock.
        """
        return self._native.break_lock(force)

    def __call__(self, function: _Function) -> _Function:
        """Decorates a function: it runs under the lock."""
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


def list_locks(folder: Name = ".") -> list[Status]:
    """The locks in this folder, and below it no further than 128 folders deep.

    :param folder: a path, or a URL like ``"etcd://host:2379/team"``.
    :raises OSError: when the folder cannot be read.
    """
    return [Status(**facts) for facts in _native.list_locks(_path(folder, "folder"))]


def clean(folder: Name = ".") -> list[str]:
    """Removes what crashes left in this folder and below it; says what it removed.

    That are lines whose waiters are gone, free directories that lingered, and half made ones.
    What a dead holder holds stays: the next one who acquires it is told of the death.

    :param folder: a path, or a URL like ``"etcd://host:2379/team"``.
    :raises OSError: when the folder cannot be read.
    """
    return _native.clean(_path(folder, "folder"))
