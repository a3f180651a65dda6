"""The four examples, as processes: what they print, and their exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"


def run(example: str, *arguments: str) -> tuple[int, str]:
    """Returns its exit code and its output, standard error included."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{example}.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    # A warning while an object is collected cannot be raised, and is printed.
    assert "Warning" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def test_each_of_the_four_credits_its_author() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}

    assert names == {"how_to_use", "inner_workings", "one_bed", "massive"}
    for name in names:
        text = " ".join((EXAMPLES / f"{name}.py").read_text().split())
        assert "After the example" in text
        assert "in Andreas Krueger's ``lockbydir`` (2015)." in text


def test_how_to_use_locks_and_unlocks(tmp_path: Path) -> None:
    code, said = run("how_to_use", str(tmp_path))

    assert code == 0, said
    assert re.sub(r"\d{16}", "TOKEN", said).splitlines() == [
        f"The lock is the directory {tmp_path}/kitchen.lockdir",
        "Locked: the kitchen is mine, my number is TOKEN. Cooking ...",
        "Unlocked: the next cook may come in.",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_second_cook_waits_for_the_first(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "how_to_use.py"), str(tmp_path)]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))

    for cook in (first, second):
        said, _ = cook.communicate(timeout=60)
        assert cook.returncode == 0 and "Unlocked" in said


def test_the_tour_shows_all_seven_scenes() -> None:
    code, said = run("inner_workings")

    assert code == 0, said
    assert re.findall(r"^(\d)\. ", said, re.MULTILINE) == list("1234567")
    for words in (
        "breakLock: True.",
        "isLocked: True",
        "timedOut: True; existsAndNotTimedOut: False",
        "unlocking: False.",
        "one try, no waiting: False",
        "the twin sees it locked",
        "stillPatience: False",
    ):
        assert words in said, said
    assert re.search(r"existsAndNotTimedOut: True; age: [1-9]", said), said
    waited = re.search(r"from startedWaitingTime to lockingTime: ([\d.]+) s", said)
    assert waited is not None and 1.9 < float(waited[1]) < 5, said
    assert said.endswith("Verdict: every scene went as planned, and nothing is left behind.\n")


def slept(said: str) -> tuple[int, int, int]:
    """Returns how many slept in the bed, gave up, and failed."""
    found = re.search(r"^(\d) slept in the bed, (\d) gave up waiting, (\d) fail", said, re.M)
    assert found is not None, said
    return int(found[1]), int(found[2]), int(found[3])


def moments(said: str, words: str) -> list[float]:
    """Returns when this was logged, in seconds; lines of several processes may be out of order."""
    pattern = rf"^ *([\d.]+) s  process \d+ +{words}"
    return sorted(float(found) for found in re.findall(pattern, said, re.MULTILINE))


def test_sleepers_that_forget_nothing_take_turns() -> None:
    code, said = run("one_bed", "--scale", "0.1", "--forgets", "0")

    assert code == 0, said
    in_bed, gave_up, failed = slept(said)
    assert failed == 0 and in_bed >= 2 and in_bed + gave_up == 4
    down, up = moments(said, "lies down"), moments(said, "gets up, and gave")
    assert len(down) == len(up) == in_bed
    for rose, next_one in zip(up, down[1:]):
        # Two processes log these at almost the same time: the release happens before its line.
        assert next_one > rose - 0.2
    assert "Verdict: the bed is empty, and never were two in it." in said


def test_after_a_forgetful_sleeper_others_wait_for_the_timeout() -> None:
    code, said = run("one_bed", "--scale", "0.2", "--forgets", "1")

    assert code == 0, said
    in_bed, gave_up, failed = slept(said)
    assert failed == 0 and in_bed >= 1 and in_bed + gave_up == 4
    down = moments(said, "lies down")
    assert len(moments(said, "gets up, and FORGETS")) == in_bed == len(down)
    for sooner, later in zip(down, down[1:]):
        # The timeout is 2 s, the sleep 1.2 s; each line may be printed shortly after the event.
        assert later - sooner > 1.5, said
    assert "the timeout will empty the bed" in said
    assert "Verdict: the bed is empty, and never were two in it." in said


def test_all_time_differences_exceed_the_holding_time() -> None:
    code, said = run("massive", "--threads", "60", "--scale", "0.2")

    assert code == 0, said
    held, gave_up = map(int, re.findall(r"(\d+) (?:held it|gave up)", said))
    assert held + gave_up == 60 and held > 10
    assert re.search(
        r"in ms: min [\d.]+, max [\d.]+, median [\d.]+, mean [\d.]+, deviation [\d.]+\n", said
    ), said
    assert f"of {held - 1} differences all are greater than 0.010 s; the lock is gone." in said


def test_too_few_to_compare_is_a_bad_verdict() -> None:
    code, said = run("massive", "--threads", "1")

    assert code == 1
    assert "Verdict: too FEW" in said


@pytest.mark.parametrize(
    ("example", "rule", "breach"),
    [
        # A bed that admits everybody, and a lock that excludes nobody.
        ("one_bed", "bed.LoopWhileLocked_ThenLocking():", "True:"),
        ("massive", "with lock:", "if lock:"),
    ],
)
def test_without_the_lock_the_verdict_is_bad(
    tmp_path: Path, example: str, rule: str, breach: str
) -> None:
    program = (EXAMPLES / f"{example}.py").read_text()
    assert program.count(rule) == 1
    unlocked = program.replace(rule, breach).replace(".unlocking()", ".stillPatience()")
    (tmp_path / "unlocked.py").write_text(unlocked)

    done = subprocess.run(
        [sys.executable, str(tmp_path / "unlocked.py"), "--scale", "0.1"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )

    assert done.returncode == 1, done.stdout
    assert "WRONG" in done.stdout or "NOT ALL" in done.stdout
