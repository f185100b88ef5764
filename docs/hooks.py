"""What MkDocs does beside its own work: generated references, pages that lie elsewhere, links out of the site.

A page of `docs/pages` may hold three markers, which are comments on GitHub, and three things are done for all:

- `<!-- generated: command-line -->`: text made from the program itself (the names are those of GENERATED);
- `<!-- include: FILE -->`, `<!-- include: FILE#anchor -->`: a file of the repository, or one of its sections;
- `<!-- needs: … -->` before a block of commands: what they need that a checkout and its `.venv` do not have;
- a line `*On GitHub: …*` is for those who read the page there, where a marker shows nothing;
- a block of `text` is wrapped, unless it draws a table;
- links to files of the repository, which work on GitHub, are led to the page that holds the file, or to GitHub.
"""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
sys.path.insert(0, str(DOCS))

import references  # noqa: E402 - beside this file, which MkDocs loads by its path

PAGES = "docs/pages"
# Where files that lie elsewhere are shown: links to them lead there.
SHOWN = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "explanation/architecture.md",
    "SECURITY.md": "explanation/security.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
}
COPIED = {
    "images/example_result_summary_chart.png": "assets/example_result_summary_chart.png",
    "example_result_summary.pdf": "assets/example_result_summary.pdf",
    "benchmarks/search.svg": "assets/search.svg",
}
GENERATED: dict[str, Callable[[], str]] = {
    "command-line": references.command_line,
    "configuration": references.configuration,
    "summary-schema": references.summary_schema,
}

_ON_GITHUB = "*On GitHub: "
_MARKER = re.compile(r"^<!-- (generated|include|needs): (.+?) -->$")
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))")
_LIST_ITEM = re.compile(r" {0,3}([-*]|\d+\.) ")
_TEXT_BLOCK = re.compile(r"^```text\n.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"(#+) (.+)")

log = logging.getLogger("mkdocs.hooks.hcopt")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pictures and files that lie elsewhere in the repository."""
    for source, shown in COPIED.items():
        files.append(File.generated(config, shown, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Replaces the markers of a page and leads its links."""
    root = str(config.extra["repository_url"])
    shared = [line for line in markdown.splitlines() if not line.startswith(_ON_GITHUB)]
    own = _linked(shared, f"{PAGES}/{page.file.src_uri}", page.file.src_uri, root)
    lines = [line for one in own for line in _expanded(one, page.file.src_uri, root)]
    shown = "\n".join(_with_empty_lines([shown for line in lines for shown in _shown(line)])) + "\n"
    return _TEXT_BLOCK.sub(_wrapped, shown)


def _wrapped(block: re.Match[str]) -> str:
    return block[0] if re.search("[│├]", block[0]) else block[0].replace("```text", "``` { .text .wrapped }", 1)


def _expanded(line: str, page: str, root: str) -> list[str]:
    """A line of a page, or the file that it stands for; links in that lead to where they lead on the site."""
    marker = _MARKER.match(line)
    if marker is None or marker[1] != "include":
        return [line]
    return _linked(included(marker[2]), marker[2].partition("#")[0], page, root)


def _shown(line: str) -> list[str]:
    """A line, or what a marker stands for."""
    marker = _MARKER.match(line)
    if marker is None:
        return [line]
    if marker[1] == "needs":
        return [f'<p class="needs">Needs {marker[2]}.</p>', ""]
    return GENERATED[marker[2]]().splitlines()


def included(target: str) -> list[str]:
    """The lines of a file of the repository, or those of one of its sections without the heading."""
    name, _, anchor = target.partition("#")
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    if not anchor:
        return lines
    found: list[str] = []
    level = 0
    for line, fenced in _with_fences(lines):
        heading = None if fenced else _HEADING.match(line)
        if level and heading and len(heading[1]) <= level:
            return found
        if level:
            found.append(line)
        elif heading and _slug(heading[2]) == anchor:
            level = len(heading[1])
    if not level:
        log.warning("%s has no heading #%s", name, anchor)
    return found


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _with_fences(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Every line, and whether it is code."""
    inside = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        yield line, inside or fence
        inside ^= fence


def _with_empty_lines(lines: list[str]) -> list[str]:
    """Python-Markdown wants an empty line before a list and before a table, GitHub does not."""
    found: list[str] = []
    for line, fenced in _with_fences(lines):
        before = found[-1] if found else ""
        begins_list = _LIST_ITEM.match(line) and not _LIST_ITEM.match(before) and not before.startswith("  ")
        begins_table = line.startswith("|") and not before.startswith("|")
        if not fenced and before.strip() and (begins_list or begins_table):
            found.append("")
        found.append(line)
    return found


def _linked(lines: list[str], source: str, page: str, root: str) -> list[str]:
    def led(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        anchor = match["anchor"] or ""
        if path.startswith(f"{PAGES}/"):
            return _relative(path.removeprefix(f"{PAGES}/"), page) + anchor
        if (shown := SHOWN.get(path) or COPIED.get(path)) is not None:
            return _relative(shown, page) + anchor
        if not (REPOSITORY / path).exists():
            log.warning("%s links to %s, which is not there", source, match["path"])
        kind = "tree" if (REPOSITORY / path).is_dir() else "blob"
        return f"{root}/{kind}/main/{path}{anchor}"

    return [line if fenced else _LINK.sub(led, line) for line, fenced in _with_fences(lines)]


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
