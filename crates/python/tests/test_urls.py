"""Names that are URLs: locks of another engine. No server listens at the address used here."""

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
def test_an_unreachable_engine_is_reported_without_secrets(
    verb: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(LockUnavailable, match="127.0.0.1:1") as caught:
        verb()

    assert isinstance(caught.value, LockError) and isinstance(caught.value, ConnectionError)
    assert "secret" not in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is LockUnavailable and str(copy) == str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [Lock, AsyncLock])
@pytest.mark.parametrize("option", [{"mode": 0o770}, {"group": 0}])
def test_options_of_directories_are_refused_for_urls(kind: Any, option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"no directory, and only those have a {next(iter(option))}"):
        kind(URL, **option)


def test_a_path_with_a_colon_and_slashes_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etcd:").mkdir()

    with Lock("./etcd://jobs"):
        assert (tmp_path / "etcd:" / "jobs.lockdir").is_dir()
