"""The pages: their Python code runs unchanged, and the links of docs/migrating.md lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lockbydir import Lock

PACKAGE = Path(__file__).parents[1]
PAGE = PACKAGE.parents[1] / "docs" / "migrating.md"


def python_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


BLOCKS = python_of(PAGE)
READMES = python_of(PACKAGE / "README.md") + python_of(PACKAGE.parents[1] / "README.md")
STARTED = python_of(PACKAGE.parents[1] / "docs" / "python.md")
RUN = BLOCKS + READMES + STARTED


def test_all_parts_have_examples() -> None:
    parts = {part.split("\n")[0]: part for part in PAGE.read_text().split("\n## ")[1:]}

    assert list(parts) == [
        "From the first version (2015)",
        "From flock(1)",
        "From filelock",
        "From proper-lockfile",
    ]
    assert "```sh\n" in parts.pop("From flock(1)")
    for part in parts.values():
        assert part.count("```python\n") >= 2
    assert any("import DLock" in block for block in BLOCKS)
    assert any("import FileLock" in block for block in BLOCKS)


def test_readmes_and_getting_started_have_python_to_run() -> None:
    assert len(READMES) == 2
    assert len(STARTED) >= 5


@pytest.mark.parametrize("block", RUN, ids=range(len(RUN)))
def test_its_python_runs_as_it_stands_and_leaves_no_lock(tmp_path: Path, block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout
    # A warning while an object is collected cannot be raised, and is printed.
    assert "Warning" not in done.stdout, done.stdout
    for kept in tmp_path.glob("*.lockdir"):
        # `at_least` keeps a lock beyond the end of its block, for a short time.
        with Lock(kept, patience=3):
            pass
    assert not list(tmp_path.glob("*.lockdir*")), done.stdout


def test_its_links_lead_somewhere() -> None:
    text = PAGE.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}

    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (PAGE.parent / target).exists(), target
