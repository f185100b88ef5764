"""Every code has its words, every wording is used, and whoever makes a note gives it the values that its words show."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

import hcopt
from hcopt.records.note import Note, NoteCode
from hcopt.words.notes import EN, sentence


def made() -> Iterator[tuple[str, frozenset[str]]]:
    """Code and names of the values of every note that hcopt makes."""
    for file in Path(hcopt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Note.of":
                codes = [one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)]
                names = frozenset(str(keyword.arg) for keyword in node.keywords)
                yield from ((str(code), names) for code in codes)


def shown(code: NoteCode) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(EN[code]) if name is not None)


def test_codes_and_words_and_what_is_made_are_the_same() -> None:
    assert set(get_args(NoteCode)) == set(EN) == {code for code, _ in made()}


def test_every_note_is_made_with_the_values_that_its_words_show() -> None:
    assert dict(made()) == {code: shown(code) for code in EN}


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "The machine is noisy: CPU time taken by the hypervisor 12% (limit 5%), variation between blocks 9% "),
        ("ko", "측정 장비의 노이즈가 큼: CPU steal 12%(한도 5%), 블록 간 변동 9%"),
    ],
)
def test_notes_within_notes_are_worded_in_the_same_language(language: str, said: str) -> None:
    causes = (Note.of("noise_steal", share=0.12, limit=0.05), Note.of("noise_variation", share=0.09, limit=0.08))
    found = Note.of("noisy_machine", causes=causes)
    assert sentence(found, "ko" if language == "ko" else "en").startswith(said)
    assert sentence(Note.of("of_model", name="A", note=found)).startswith("A: The machine is noisy")


def test_braces_in_a_value_are_no_placeholders() -> None:
    assert sentence(Note.of("error", message="{0} {x!r} %s")) == "{0} {x!r} %s"
