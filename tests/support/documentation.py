"""The Markdown that readers see, and the blocks in it; the built site, and the links in that."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = REPOSITORY / "docs" / "pages"
CONFIGURATION = REPOSITORY / "docs" / "mkdocs.yml"
# What stands in the repository itself.
TOP_LEVEL = (
    *(
        REPOSITORY / name
        for name in ("README.md", "README.ko.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
    ),
    *(REPOSITORY / name for name in ("SECURITY.md", "benchmarks/README.md", "examples/ci/README.md")),
)
_FENCE = re.compile(r"^ *```(\w*)$")
_NEEDS = re.compile(r"^<!-- needs: .+ -->$")
_LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        file: Where it stands.
        line: The number of its fence.
        language: Behind its fence.
        needs_more: Whether it says that a checkout and its `.venv` are not enough for it.
    """

    file: Path
    line: int
    language: str
    text: str
    needs_more: bool

    @property
    def name(self) -> str:
        return f"{self.file.relative_to(REPOSITORY)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command; what a shell does between commands is left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [part for line in lines for part in _parts(shlex.split(line, comments=True))]


def _parts(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word in {"&&", "||", "|"}:
            yield part
            part = []
        elif not word.startswith(">"):
            part.append(word)
    if part:
        yield part


def shown_files() -> list[Path]:
    """Every Markdown file that a reader is led to."""
    return [*TOP_LEVEL, *sorted(PAGES.rglob("*.md"))]


def blocks(file: Path) -> list[Block]:
    """All fenced blocks of a file."""
    found, opened, language, text, before = [], 0, "", list[str](), ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if not opened and fence:
            opened, language, text = number, fence[1], []
        elif opened and line.strip() == "```":
            needs_more = bool(_NEEDS.match(before))
            found.append(Block(file=file, line=opened, language=language, text="\n".join(text), needs_more=needs_more))
            opened = 0
        elif opened:
            text.append(line)
        if not opened:
            before = line
    assert not opened, f"{file} ends inside of a block"
    return found


def prose(file: Path) -> str:
    """A file without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(file: Path) -> list[tuple[str, str]]:
    """Path and anchor of each relative link."""
    return [(path, anchor) for path, anchor in _LINK.findall(prose(file))]


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub gives to a file's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(file), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


class Page(HTMLParser):
    """A page of the built site: what it links to, what it loads, its anchors, and how long its first example takes."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.words_before_example = 0
        self._in_article = self._example_seen = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in {"script", "img", "iframe"} and "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload"}:
            self.loaded.append(given["href"])
        self._in_article = self._in_article or tag == "article"
        self._example_seen = self._example_seen or (self._in_article and tag in {"pre", "img"})

    def handle_data(self, data: str) -> None:
        if self._in_article and not self._example_seen:
            self.words_before_example += len(data.split())
