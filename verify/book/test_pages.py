"""The pages as such: every block of a recipe is run or says why not, messages and versions are described as they are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import List, Tuple

import pytest
from conftest import World
from pages import DOCS, RECIPES, ROOT, blocks

TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_recipes*.py"))

ERRORS = [
    "crates/lockbydir/src/error.rs",
    "crates/lockbydir/src/settings.rs",
    "crates/lockbydir/src/hold.rs",
    "crates/lockbydir/src/reentrant.rs",
    "crates/lockbydir/src/semaphore.rs",
    "crates/lockbydir/src/several.rs",
    "crates/etcd/src/error.rs",
    "crates/cli/src/attend.rs",
    "crates/cli/src/break_lock.rs",
    "crates/cli/src/child/contain.rs",
    "crates/cli/src/child/linux_signals.rs",
    "crates/cli/src/child/mod.rs",
    "crates/cli/src/duration.rs",
    "crates/cli/src/flock.rs",
    "crates/cli/src/group.rs",
    "crates/cli/src/nested.rs",
    "crates/cli/src/main.rs",
    "crates/cli/src/missing.rs",
    "crates/cli/src/run.rs",
    "crates/cli/src/variables.rs",
    "crates/cli/src/verbs.rs",
    "crates/lockbydir/src/engine/registry.rs",
    "crates/lockbydir/src/foreign.rs",
    "crates/python/src/errors.rs",
    "crates/python/src/held.rs",
]
"""The files with messages for users; each of their messages must be in docs/troubleshooting.md."""


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_each_block_of_a_recipe_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        if block.language == "console":
            continue  # a session: what it runs is in another block
        assert block.test or block.reason, f"{page.name} has a block without a mark:\n{block.body}"
        if block.test:
            assert f'"{block.test}"' in TESTS, f"no test runs `{block.test}` of {page.name}"


def test_each_recipe_is_in_the_list_and_in_the_summary() -> None:
    listed = (DOCS / "recipes" / "index.md").read_text()
    summary = (DOCS / "SUMMARY.md").read_text()

    for page in RECIPES:
        assert page.name == "index.md" or f"({page.name})" in listed
        assert f"(recipes/{page.name})" in summary


def messages(path: str) -> List[str]:
    """Returns the fixed part, the longest one, of each message in a source file."""
    source = (ROOT / path).read_text().split("#[cfg(test)]")[0]
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    # What is searched in others' texts is no message.
    source = re.sub(r'contains\("[^"]*"\)', "", source)
    source = re.sub(r"#!?\[.*?\]\n", "", source, flags=re.DOTALL)
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', source, re.DOTALL)
    parts = [max(re.split(r"\{[^{}]*\}", text), key=len).strip(" ;:,(") for text in texts]
    # Longer texts are help.
    return [part for part in parts if len(part.split()) >= 3 and part.count("\n") < 3]


def plain(text: str) -> str:
    """Returns a text without backquotes and folded lines."""
    return re.sub(r"\s+", " ", text.replace("`", "").replace("\\n", " "))


@pytest.mark.parametrize("path", ERRORS)
def test_each_message_is_on_the_page_of_troubles(path: str) -> None:
    page = plain((DOCS / "troubleshooting.md").read_text())
    found = messages(path)

    assert found, "no message found: has the file moved?"
    missing = [message for message in found if plain(message) not in page]
    assert not missing, f"docs/troubleshooting.md lacks: {missing}"


PROVOKED: List[Tuple[str, str]] = [
    ("run -n nowhere/jobs -- true", "its parent folder must exist"),
    ("run jobs -- no-such-command", "is not found"),
    ("run jobs -- /etc/passwd", "cannot run"),
    ("run -s jobs -- true", "is flock's"),
    ("run jobs/ -- true", "a lock's name ends in a slash"),
    ("run . -- true", "is not a lock's name; it ends in dots"),
    ("run '' -- true", "a lock's name is empty"),
    ("run -n link -- true", "it is a symbolic link"),
    ("run -n file -- true", "it is not a directory"),
    ("run -n taken -- true", "held by a key, no process"),
    ("break taken", "use --force to break it anyway"),
    ("release jobs 1-2", "is not a key"),
    ("renew taken 1763925000123456-6d9k2mw3kq2v5n9x4t6b1h0jq7", "lost the lock"),
    ("run --no-renew -t 0.2s short -- sleep 60", "has reached its timeout"),
    ("run -w 0.2s etcd://127.0.0.1:1/jobs -- true", "etcd servers are unreachable"),
    ("run --group nobody-has-this jobs -- true", "there is no group"),
]


@pytest.mark.parametrize(("command", "message"), PROVOKED, ids=[command for command, _ in PROVOKED])
def test_a_provoked_error_has_the_exit_code_of_its_row(world: World, command: str, message: str) -> None:
    world.run(["lockbydir", "acquire", "-t", "5m", "taken"])
    (world.folder / "link.lockdir").symlink_to("taken.lockdir")
    (world.folder / "file.lockdir").touch()

    process = world.start(["sh", "-c", f"lockbydir {command}"])
    code, printed = world.finish(process), world.output(process)

    assert message in printed
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in (DOCS / "troubleshooting.md").read_text().splitlines()
        if row.startswith("|") and plain(message) in plain(row)
    ]
    assert any(str(code) in re.split(r"\D+", row[-1]) for row in rows), (code, rows)


def test_exit_codes_are_those_of_the_program_and_of_sysexits() -> None:
    rows = re.findall(r"^\| (\d+) \| (?:`(EX_\w+)`)? ?\|", (DOCS / "exit-codes.md").read_text(), re.MULTILINE)
    ours = {int(code) for code in re.findall(r"u8 = (\d+);", (ROOT / "crates/cli/src/exit.rs").read_text())}
    # sysexits.h of every Unix.
    names = dict(EX_OK=0, EX_USAGE=64, EX_UNAVAILABLE=69, EX_CANTCREAT=73, EX_IOERR=74, EX_TEMPFAIL=75, EX_PROTOCOL=76)
    names["EX_NOPERM"] = 77

    assert {int(code) for code, _ in rows} == (ours - {128}) | {0}
    for code, name in rows:
        assert not name or names[name] == int(code)


def test_an_entry_of_protocol_v2_is_refused_and_left_alone(world: World) -> None:
    world.run(["lockbydir", "run", "jobs", "--", "sh", "-c", "ls jobs.lockdir >entry"])
    entry = (world.folder / "entry").read_text().strip()
    assert entry.startswith("v1.held.")
    newer = world.folder / "jobs.lockdir" / entry.replace("v1.", "v2.", 1)
    newer.parent.mkdir()
    newer.touch()

    for command, code in [
        ("run -n jobs -- true", 73),
        ("run --wait forever jobs -- true", 73),
        ("acquire jobs", 73),
        ("break jobs", 73),
        ("break --force jobs", 73),
        ("clean", 0),
    ]:
        process = world.start(["lockbydir", *command.split()])
        assert world.finish(process) == code, command
        assert code == 0 or "which is not ours" in world.output(process), command
        assert [path.name for path in newer.parent.iterdir()] == [newer.name], command


def test_a_waiter_is_refused_once_a_holder_of_protocol_v2_comes(world: World) -> None:
    key = world.run(["lockbydir", "acquire", "-t", "5m", "jobs"]).strip()
    waiter = world.start(["lockbydir", "run", "--wait", "forever", "jobs", "--", "true"])
    world.until(world.waiters, "it waits")
    (entry,) = (world.folder / "jobs.lockdir").iterdir()

    # The one rename by which a newer version would take the lock over.
    entry.rename(entry.with_name(entry.name.replace("v1.", "v2.", 1)))

    assert world.finish(waiter) == 73, world.output(waiter)
    assert key
