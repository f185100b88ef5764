"""What every note has to keep, whoever makes it: one sentence in each language, with the same figures and names."""

from __future__ import annotations

import re

from hcopt.records.note import Note
from hcopt.words.notes import sentence

_HANGUL = re.compile("[가-힣]")
_FIGURES_AND_NAMES = re.compile(r"'[^']+'|\d+(?:\.\d+)?%?|\b\w+[._]\w*[a-z]\b", re.ASCII)


def said(note: Note | None) -> str:
    """The English sentence of a note whose Korean one says as much."""
    assert note is not None
    en, ko = sentence(note, "en"), sentence(note, "ko")
    assert _HANGUL.search(ko) and not _HANGUL.search(en)
    assert set(_FIGURES_AND_NAMES.findall(en)) == set(_FIGURES_AND_NAMES.findall(ko)), note
    return en
