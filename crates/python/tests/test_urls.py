"""Names that are URLs: locks that another engine keeps. Nobody listens at the address used here."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any, Callable

import pytest

from lockbydir import (
    AsyncLock,
    DLock,
    Lock,
    LockError,
    LockUnavailable,
    clean,
    list_locks,
)

URL = "etcd://me:secret@127.0.0.1:1/jobs"


def _of_dlock(attribute: str) -> Callable[[], object]:
    return lambda: getattr(DLock(URL), attribute)()


@pytest.mark.parametrize(
    "verb",
    [
        lambda: Lock(URL, patience=0).acquire(),
        lambda: Lock(URL).try_acquire(),
        lambda: Lock(URL).locked(),
        lambda: Lock(URL).status(),
        lambda: Lock(URL).break_lock(force=True),
        lambda: asyncio.run(AsyncLock(URL, patience=0).acquire()),
        lambda: list_locks(URL),
        lambda: clean(URL),
        _of_dlock("locking"),
        _of_dlock("exists"),
        _of_dlock("timedOut"),
        _of_dlock("breakLock"),
    ],
)
def test_an_engine_out_of_reach_is_told_and_no_secret_is(
    verb: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(LockUnavailable, match="127.0.0.1:1") as told:
        verb()

    assert isinstance(told.value, LockError) and isinstance(told.value, ConnectionError)
    assert "secret" not in str(told.value)
    copy = pickle.loads(pickle.dumps(told.value))
    assert type(copy) is LockUnavailable and str(copy) == str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [Lock, AsyncLock])
@pytest.mark.parametrize("option", [{"mode": 0o770}, {"group": 0}])
def test_what_only_a_directory_has_is_refused_with_a_url(kind: Any, option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"no directory, and only those have a {next(iter(option))}"):
        kind(URL, **option)


def test_a_path_with_a_colon_and_slashes_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etcd:").mkdir()

    with Lock("./etcd://jobs"):
        assert (tmp_path / "etcd:" / "jobs.lockdir").is_dir()
