"""Benchmarks stand by themselves: tests may use what is there, and not the other way round."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOST_IN_A_FOLDER = 15


def imported(source: str) -> set[str]:
    """The first part of each name that is imported, wherever in the file that stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: str(path.relative_to(BENCHMARKS)))
def test_imports_nothing_of_the_tests(path: Path) -> None:
    assert "tests" not in imported(path.read_text(encoding="utf-8"))


def test_import_is_found_wherever_it_stands() -> None:
    assert imported("import tests.a\ndef f():\n    from hcopt.b import c\n") == {"tests", "hcopt"}


def test_no_folder_is_crowded() -> None:
    for folder in (BENCHMARKS, *(path for path in BENCHMARKS.iterdir() if path.is_dir())):
        assert len([*folder.glob("*.py")]) <= MOST_IN_A_FOLDER, folder
