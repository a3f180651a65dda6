"""Invalid parameters are refused by an error that says which parameter and what it may be."""

from __future__ import annotations

import copy
import errno
import multiprocessing
import os
import pickle
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable

import pytest
from children import exit_code_of
from lockbydir import (
    AsyncLock,
    ForeignLock,
    Lock,
    LockError,
    LockLost,
    PatienceOver,
    clean,
    list_locks,
)

WRONG_TYPES: list[tuple[str, object, str]] = [
    ("timeout", "x", "timeout is a number of seconds or a timedelta, not str: 'x'"),
    ("timeout", True, "timeout is a number of seconds or a timedelta, not bool"),
    ("patience", "x", "patience is a number of seconds or a timedelta, not str"),
    ("patience", False, "patience is a number of seconds or a timedelta, not bool"),
    ("label", 3, "label is a str, not int: 3"),
    ("label", None, "label is a str, not NoneType"),
    ("fenced", 1, "fenced is a bool, not int"),
    ("linger", [], "linger is a number of seconds or a timedelta, not list"),
    ("mode", "770", "mode is a number like 0o770, not str"),
    ("mode", True, "mode is a number like 0o770, not bool"),
    ("group", "users", r"group is a number \(a GID\), not str"),
    ("group", 1.5, r"group is a number \(a GID\), not float"),
    ("renew", "auto", "renew is a bool or None, not str: 'auto'"),
    ("on_lost", 3, "on_lost is None or what is called with the error, not int"),
    ("owner", 1.5, 'owner is "process", "nobody" or a PID, not float'),
    ("owner", None, 'owner is "process", "nobody" or a PID, not NoneType'),
]
WRONG_VALUES: list[tuple[str, object, str]] = [
    ("timeout", 0, "timeout is from 0.1 seconds to ten years, not 0.0 s"),
    ("timeout", -1, "timeout is from 0.1 seconds to ten years"),
    ("timeout", float("nan"), "timeout is from 0.1 seconds to ten years, not nan s"),
    ("timeout", float("inf"), "timeout is from 0.1 seconds to ten years"),
    ("timeout", 10**400, "timeout is from 0.1 seconds to ten years"),
    ("timeout", timedelta(days=4000), "timeout is from 0.1 seconds to ten years"),
    ("patience", -0.5, "patience is a number of seconds from 0 on, not -0.5"),
    ("patience", float("nan"), "patience is a number of seconds from 0 on"),
    ("label", "x" * 41, "label is at most 40 printable ASCII characters"),
    ("label", "caf\u00e9", "label is at most 40 printable ASCII characters"),
    ("label", "a\nb", "label is at most 40 printable ASCII characters"),
    ("linger", -1, "linger is a number of seconds from 0 on"),
    ("linger", float("inf"), "linger is a number of seconds from 0 on"),
    ("mode", 0o070, "mode is from 0o700 to 0o777, like 0o770, not 0o70"),
    ("mode", 0o1777, "mode is from 0o700 to 0o777"),
    ("mode", -1, "mode is from 0o700 to 0o777"),
    ("group", -1, "group is a GID, not -1"),
    ("group", 2**32, "group is a GID"),
    ("owner", "me", 'owner is "process", "nobody" or a PID, not \'me\''),
    ("owner", 0, "owner is a PID from 1 on, not 0"),
    ("owner", -5, "owner is a PID from 1 on, not -5"),
    ("owner", 2**31, "owner is a PID from 1 on"),
]


@pytest.mark.parametrize("kind", [Lock, AsyncLock])
@pytest.mark.parametrize(("parameter", "value", "said"), WRONG_TYPES)
def test_an_option_of_a_wrong_type_is_refused_by_name(
    name: str, kind: Any, parameter: str, value: object, said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        kind(name, **{parameter: value})


@pytest.mark.parametrize("kind", [Lock, AsyncLock])
@pytest.mark.parametrize(("parameter", "value", "said"), WRONG_VALUES)
def test_an_option_of_a_wrong_value_is_refused_by_name(
    name: str, kind: Any, parameter: str, value: object, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        kind(name, **{parameter: value})


@pytest.mark.parametrize("kind", [Lock, AsyncLock])
def test_an_unknown_option_and_one_by_position_are_refused(name: str, kind: Any) -> None:
    with pytest.raises(TypeError, match="patients"):
        kind(name, patients=3)
    with pytest.raises(TypeError, match="positional"):
        kind(name, 3)
    with pytest.raises(TypeError, match="name"):
        kind()


@pytest.mark.parametrize("kind", [Lock, AsyncLock])
@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (3, TypeError, "a lock's name is a str or a path of str, not int: 3"),
        (None, TypeError, "a lock's name is a str or a path of str, not NoneType"),
        (b"jobs", TypeError, "a lock's name is a str or a path of str, not bytes"),
        ("", ValueError, "a lock's name is empty"),
        ("a\0b", ValueError, "a lock's name has a NUL byte in it"),
        ("jobs/", ValueError, "a lock's name ends in a slash"),
        ("jobs/..", ValueError, "is not a lock's name; it ends in dots"),
        (".", ValueError, "is not a lock's name; it ends in dots"),
        ("x" * 221, ValueError, "a lock's name is too long: 221 bytes, at most 220"),
        ("\ud800", ValueError, "a lock's name cannot be the name of a file"),
        ("nowhere://host/jobs", ValueError, "there is no engine for `nowhere://` names"),
    ],
)
def test_an_invalid_name_is_refused(
    kind: Any, wrong: object, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        kind(wrong)


def test_a_name_that_is_not_text_works(tmp_path: Path) -> None:
    name = os.path.join(tmp_path, os.fsdecode(b"\xff\xfe caf\xe9"))

    with Lock(name) as held:
        assert held.path == Lock(name).path == name + ".lockdir"
        assert os.path.isdir(os.fsencode(name) + b".lockdir")
        with pytest.raises(PatienceOver) as over:
            Lock(Path(name)).acquire(0)
        assert over.value.path == name + ".lockdir"
        str(over.value).encode()
        assert Lock(name).status().name == name
        assert list_locks(tmp_path)[0].path == held.path


def calls(name: str) -> list[tuple[Callable[[Any], object], object, str]]:
    lock = Lock(name, timeout=300)
    held = lock.acquire()
    of_seconds = "is a number of seconds or a timedelta, not str: 'x'"
    return [
        (lock.acquire, "x", "patience " + of_seconds),
        (held.set_timeout, "x", "timeout " + of_seconds),
        (held.set_timeout, None, "timeout is a number of seconds or a timedelta, not NoneType"),
        (held.set_timeout, True, "timeout is a number of seconds or a timedelta, not bool"),
        (held.wait_lost, "x", "up_to " + of_seconds),
        (lock.release, 3, "key is a str, as Held.key, not int: 3"),
        (lock.renew, 3, "key is a str, as Held.key, not int: 3"),
        (lock.renew, None, "key is a str, as Held.key, not NoneType"),
        (lambda given: lock.break_lock(force=given), "yes", "force is a bool, not str: 'yes'"),
        (list_locks, 3, "folder is a str or a path of str, not int: 3"),
        (list_locks, b"x", "folder is a str or a path of str, not bytes"),
        (clean, 3, "folder is a str or a path of str, not int: 3"),
        (lock, 3, "a Lock decorates functions, not 3"),
    ]


def test_a_parameter_of_a_wrong_type_is_refused_by_name(name: str) -> None:
    for call, wrong, said in calls(name):
        with pytest.raises(TypeError) as refused:
            call(wrong)
        assert said in str(refused.value)


def test_a_parameter_of_a_wrong_value_is_refused_by_name(name: str) -> None:
    lock = Lock(name, timeout=300)
    held = lock.acquire()
    wrong: list[tuple[Callable[[Any], object], object, str]] = [
        (lock.acquire, -1, "patience is a number of seconds from 0 on, not -1"),
        (held.set_timeout, -1, "timeout is a number of seconds from 0 on, not -1"),
        (held.set_timeout, 0.001, "a timeout is between 100 ms and ten years, not 1ms"),
        (held.set_timeout, 10**400, "timeout is a number of seconds from 0 on, not inf"),
        (held.wait_lost, -1, "up_to is a number of seconds from 0 on, not -1"),
        (lock.release, "x", "`x` is not a key"),
        (lock.renew, "1-\ud800", "is not a key"),
        (list_locks, "a\ud800", "folder cannot be the name of a file"),
    ]
    for call, value, said in wrong:
        with pytest.raises(ValueError) as refused:
            call(value)
        assert said in str(refused.value)
    assert held.is_held


async def _coroutine() -> None:
    pass


async def _generator() -> Any:
    yield


def test_a_decorator_refuses_functions_that_run_after_it(name: str) -> None:
    def generator() -> Any:
        yield

    for wrong, said in (
        (_coroutine, "is asynchronous: decorate it by an AsyncLock"),
        (_generator, "is asynchronous"),
        (generator, "is a generator"),
    ):
        with pytest.raises(TypeError, match=said):
            Lock(name)(wrong)
    with pytest.raises(TypeError, match="an AsyncLock decorates coroutine functions"):
        AsyncLock(name)(generator)


def test_patience_over_says_who_holds_the_lock(name: str) -> None:
    with Lock(name, label="work") as held, pytest.raises(PatienceOver) as over:
        Lock(name).acquire(patience=0.01)

    error = over.value
    assert isinstance(error, LockError) and isinstance(error, TimeoutError)
    assert error.path == held.path
    assert error.holder is not None
    assert (error.holder.pid, error.holder.label) == (os.getpid(), "work")
    assert held.path in str(error) and "held by" in str(error) and "waited" in str(error)


def test_a_file_in_place_of_the_lock_is_foreign(name: str) -> None:
    Path(name + ".lockdir").write_text("somebody's")

    for verb in (Lock(name).acquire, Lock(name).try_acquire, Lock(name).locked):
        with pytest.raises(ForeignLock, match="will not touch .* it is not a directory") as foreign:
            verb()
        assert foreign.value.path == name + ".lockdir"
    with pytest.raises(ForeignLock):
        Lock(name).break_lock(force=True)
    assert Lock(name).status().state == "foreign"
    assert Path(name + ".lockdir").read_text() == "somebody's"


def test_a_missing_folder_is_the_systems_error(tmp_path: Path) -> None:
    name = tmp_path / "missing" / "jobs"

    with pytest.raises(FileNotFoundError) as missing:
        Lock(name).acquire()

    assert missing.value.errno == errno.ENOENT
    assert missing.value.filename == f"{name}.lockdir"
    assert "must exist" in str(missing.value)
    with pytest.raises(FileNotFoundError):
        list_locks(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        clean(tmp_path / "missing")
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").touch()
        Lock(tmp_path / "file" / "jobs").acquire()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_folder_without_write_permission_is_an_error(tmp_path: Path) -> None:
    assert os.getuid() == 0, "this test needs the right to become another user"
    folder = tmp_path / "ours"
    folder.mkdir(mode=0o755)
    for above in folder.parents:
        if above.stat().st_uid == 0 and above != Path("/") and above != Path("/tmp"):
            above.chmod(0o755)

    def work() -> bool:
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(PermissionError) as denied:
            Lock(folder / "jobs").acquire()
        return (
            denied.value.errno == errno.EACCES and denied.value.filename == f"{folder}/jobs.lockdir"
        )

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    assert exit_code_of(pid) == 0


def test_another_users_lock_is_a_permission_error(name: str) -> None:
    with Lock(name):
        os.chown(name + ".lockdir", 65534, 65534)
        with pytest.raises(PermissionError, match="it belongs to user 65534") as denied:
            Lock(name).acquire(0)
        assert denied.value.filename == name + ".lockdir"
        os.chown(name + ".lockdir", os.getuid(), os.getgid())


def test_a_holding_is_released_once(name: str) -> None:
    lock = Lock(name)
    held = lock.acquire()

    held.release()
    held.release()

    with Lock(name) as next_one:
        held.release()
        assert next_one.is_held
    with pytest.raises(LockLost, match="it was released"):
        held.renew()
    with pytest.raises(LockLost):
        held.keep()


def test_a_release_without_a_holding_is_an_error(name: str) -> None:
    lock = Lock(name)

    with pytest.raises(LockError, match="this Lock does not hold it") as refused:
        lock.release()

    assert refused.value.path == name + ".lockdir"
    lock.acquire()
    lock.release()
    with pytest.raises(LockError):
        lock.release()
    with pytest.raises(RuntimeError, match="was not entered"):
        lock.__exit__(None, None, None)


def test_a_lock_without_init_says_so() -> None:
    class Wrong(Lock):
        def __init__(self) -> None:
            pass

    with pytest.raises(RuntimeError, match="Lock.__init__ was not called"), Wrong():
        pass


def test_a_loss_does_not_hide_an_error_under_the_lock(name: str) -> None:
    with pytest.raises(KeyError) as wrong, Lock(name):
        Lock(name).break_lock(force=True)
        raise KeyError("work")

    notes = getattr(wrong.value, "__notes__", ["lost the lock"])
    assert "lost the lock" in notes[0]


def test_errors_can_be_pickled_and_copied(name: str) -> None:
    with Lock(name, label="work"), pytest.raises(PatienceOver) as over:
        Lock(name).acquire(0)

    for same in (pickle.loads(pickle.dumps(over.value)), copy.copy(over.value)):
        assert type(same) is PatienceOver and str(same) == str(over.value)
        assert (same.path, same.holder) == (over.value.path, over.value.holder)
    for error in (LockLost("lost", "p"), ForeignLock("foreign"), LockError("error", "p", None)):
        same = pickle.loads(pickle.dumps(error))
        assert (type(same), str(same), same.path) == (type(error), str(error), error.path)


def _fails(name: str) -> None:
    Lock(name).acquire(0)


def test_an_error_comes_back_from_another_process(name: str) -> None:
    with Lock(name), multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(PatienceOver) as over:
            pool.apply_async(_fails, [name]).get(20)
    assert over.value.holder is not None and over.value.holder.pid == os.getpid()


def test_locks_and_holdings_can_be_neither_pickled_nor_copied(name: str) -> None:
    lock = Lock(name)
    for one in (lock, lock.acquire(), AsyncLock(name)):
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                way(one)


def test_async_calls_refuse_wrong_parameters(name: str) -> None:
    import asyncio

    async def refused(call: Awaitable[object], error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            await call

    async def main() -> None:
        lock = AsyncLock(name)
        text: Any = "x"
        await refused(lock.acquire(text), TypeError, "patience is a number of seconds or")
        await refused(lock.acquire(-1), ValueError, "patience is a number of seconds from 0 on")
        await refused(lock.break_lock(force=text), TypeError, "force is a bool")

    asyncio.run(main())
