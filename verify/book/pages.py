"""The pages of the book, and their marked blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RECIPES = sorted((DOCS / "recipes").glob("*.md"))

_BLOCK = re.compile(
    r"(?:^<!-- (?P<what>test|not run): (?P<text>.*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code; `test` is the name by which a test finds it, `reason` why no test runs it."""

    page: Path
    language: str
    body: str
    test: Optional[str]
    reason: Optional[str]


def blocks(page: Path) -> List[Block]:
    """Returns all blocks of a page."""
    return [
        Block(
            page,
            found["language"],
            found["body"],
            found["text"] if found["what"] == "test" else None,
            found["text"] if found["what"] == "not run" else None,
        )
        for found in _BLOCK.finditer(page.read_text())
    ]


def recipe(name: str) -> str:
    """Returns the body of the recipes' block of this name."""
    found = [block.body for page in RECIPES for block in blocks(page) if block.test == name]
    if len(found) != 1:
        raise KeyError(f"the recipes have {len(found)} blocks `{name}`")
    return found[0]
