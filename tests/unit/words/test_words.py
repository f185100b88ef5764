"""The two tables say the same things, and the fonts can draw them."""

from __future__ import annotations

import re
from importlib.resources import files
from string import Formatter

import pytest
from fontTools.ttLib import TTFont

from hcopt.words import _PARTS, EN, KO, notes, texts

HANGUL = re.compile("[가-힣]")


def _placeholders(template: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(template) if field is not None}


TABLES = [(EN, KO), (notes.EN, notes.KO)]


@pytest.mark.parametrize(("english", "korean"), TABLES, ids=["report", "notes"])
def test_tables_have_the_same_keys(english, korean):
    assert set(english) == set(korean)


@pytest.mark.parametrize(("english", "korean"), TABLES, ids=["report", "notes"])
def test_both_languages_fill_in_the_same_values(english, korean):
    assert {key: _placeholders(english[key]) for key in english} == {key: _placeholders(korean[key]) for key in english}


@pytest.mark.parametrize("english", [EN, notes.EN], ids=["report", "notes"])
def test_english_has_no_hangul(english):
    assert not [key for key, value in english.items() if HANGUL.search(value)]


def test_no_two_parts_say_the_same_key():
    assert sum(len(part.EN) for part in _PARTS) == len(EN)


def test_language_chooses_the_table():
    assert texts("ko")["tile_sure"] == "확신도"
    assert texts("en")["tile_sure"] == "How sure"


def test_template_uses_only_texts_that_exist():
    template = (files("hcopt.report") / "templates" / "report.typ").read_text(encoding="utf-8")
    used = set(re.findall(r"\bwords\.([a-z0-9_]+)", template))
    assert used and used <= set(EN)


def test_page_uses_only_texts_that_exist():
    template = (files("hcopt.report") / "templates" / "report.html.jinja").read_text(encoding="utf-8")
    used = set(re.findall(r"\bwords\.([a-z0-9_]+)", template))
    assert used and used <= set(EN)


@pytest.mark.parametrize("style", ["Regular", "Bold"])
def test_fonts_draw_every_letter_of_both_tables_and_every_syllable(style):
    with (files("hcopt.report") / "fonts" / f"HcoptGothic-{style}.ttf").open("rb") as file:
        drawn = set(TTFont(file).getBestCmap())
    needed = {ord(letter) for pair in TABLES for table in pair for value in table.values() for letter in value}
    assert needed | set(range(0xAC00, 0xD7A4)) | {ord(sign) for sign in "−±≤※…"} <= drawn


@pytest.mark.parametrize("style", ["Regular", "Bold"])
def test_fonts_do_not_use_the_reserved_name(style):
    with (files("hcopt.report") / "fonts" / f"HcoptGothic-{style}.ttf").open("rb") as file:
        names = TTFont(file)["name"]
    assert names.getDebugName(1) == "Hcopt Gothic"
    assert "Nanum" not in "".join(names.getDebugName(number) for number in (1, 2, 3, 4, 6))
    assert "SIL OPEN FONT LICENSE Version 1.1" in (files("hcopt.report") / "fonts" / "OFL.txt").read_text()
