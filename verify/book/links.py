"""Checks the links of the built book, and of the pages in the repository's root: every file and anchor exists.

    links.py BOOK

No network: addresses of other sites are left alone, and addresses of files in this repository are looked up here.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Dict, List, Set, Tuple
from urllib.parse import unquote, urlsplit

from pages import ROOT

OURS = "https://github.com/lockbydir/lockbydir/"


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: Set[str] = set()
        self.targets: List[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, "str | None"]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src", "srcset") and value:
                self.targets.append(value)


def anchors_of_markdown(path: Path) -> Set[str]:
    """Returns the anchors that GitHub makes of the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_in_book(book: Path) -> List[str]:
    pages: Dict[Path, Page] = {}
    for path in sorted(book.rglob("*.html")):
        # These repeat the others, from another folder.
        if path.name not in ("print.html", "404.html", "toc.html"):
            pages[path] = Page(path)
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                if target.startswith((OURS + "blob/main/", OURS + "edit/main/")):
                    file = ROOT / unquote(url.path).split("/main/", 1)[1]
                    if not file.exists():
                        broken.append(f"{path.relative_to(book)}: {target}")
                continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            if file.is_dir():
                file /= "index.html"
            known = pages.get(file)
            if not file.exists() or (url.fragment and known and unquote(url.fragment) not in known.anchors):
                broken.append(f"{path.relative_to(book)}: {target}")
    if len(pages) < 30 or sum(len(page.targets) for page in pages.values()) < 1000:
        broken.append(f"only {len(pages)} pages: is {book} the whole book?")
    return broken


def broken_in_markdown() -> List[str]:
    """Checks links as GitHub shows them: in the root's pages and in docs/."""
    broken = []
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
    for path in pages:
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            url = urlsplit(target)
            if url.scheme:
                continue
            file = path.parent / unquote(url.path) if url.path else path
            if not file.exists() or (url.fragment and url.fragment not in anchors_of_markdown(file)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    return broken


if __name__ == "__main__":
    found = broken_in_book(Path(sys.argv[1]).resolve()) + broken_in_markdown()
    print("\n".join(found) or "all links of the book lead somewhere")
    sys.exit(bool(found))
