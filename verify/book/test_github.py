"""The files of .github: valid, with least permissions, and each step is a line of the justfile."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import yaml
from conftest import World
from pages import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS: List[Tuple[str, str]] = [
    ("dependabot.yml", "vendor.dependabot"),
    ("ISSUE_TEMPLATE/config.yml", "vendor.github-issue-config"),
    ("ISSUE_TEMPLATE/bug.yml", "vendor.github-issue-forms"),
    ("ISSUE_TEMPLATE/idea.yml", "vendor.github-issue-forms"),
    ("ISSUE_TEMPLATE/platform.yml", "vendor.github-issue-forms"),
]


def jobs() -> Iterator[Tuple[str, Dict[str, Any], Dict[str, Any]]]:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        for name, job in workflow["jobs"].items():
            yield f"{path.name}: {name}", workflow, job


def test_actionlint_accepts_the_workflows(world: World) -> None:
    assert WORKFLOWS
    world.run(["actionlint", "-no-color", *WORKFLOWS])

    wrong = world.write("wrong.yml", WORKFLOWS[0].read_text().replace("runs-on", "runs-at"))
    assert world.finish(world.start(["actionlint", wrong])) == 1


@pytest.mark.parametrize(("name", "schema"), SCHEMAS)
def test_other_files_keep_to_their_schemas(world: World, name: str, schema: str) -> None:
    world.run(["check-jsonschema", "--builtin-schema", schema, GITHUB / name])


def test_all_files_are_checked() -> None:
    checked = {GITHUB / name for name, _ in SCHEMAS} | set(WORKFLOWS)

    assert checked == set(GITHUB.rglob("*.yml"))


def test_each_command_is_a_line_of_the_justfile() -> None:
    lines = set(re.findall(r"^([a-z][\w-]*)[^:\n]*:(?!=)", (ROOT / "justfile").read_text(), re.MULTILINE))
    commands = [(where, step["run"]) for where, _, job in jobs() for step in job["steps"] if "run" in step]

    assert len(commands) > 10
    for where, command in commands:
        root = r'sudo env "PATH=\$PATH" "HOME=\$HOME" (?:LOCKBYDIR_LANES=all )?'
        line = re.fullmatch(rf'(?:{root})?just ([a-z]+)(?: [\w."$]+)?', command)
        assert line and line[1] in lines, f"{where}: {command}"


def test_permissions_are_the_least_and_actions_have_versions() -> None:
    needs_more = {"release.yml: build", "release.yml: draft", "pages.yml: pages"}
    for where, workflow, job in jobs():
        assert workflow["permissions"] == {"contents": "read"}, where
        assert ("permissions" in job) == (where in needs_more), where
        assert job["timeout-minutes"] <= 300, where
        for step in job["steps"]:
            assert re.search(r"@v\d+$", step.get("uses", "@v0")), f"{where}: {step}"
