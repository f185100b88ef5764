"""What every note has to keep, whoever makes it: one sentence in each language, with the same figures and names."""

from __future__ import annotations

import re

from hcopt.records.note import Note

_HANGUL = re.compile("[가-힣]")
_FIGURES_AND_NAMES = re.compile(r"'[^']+'|\d+(?:\.\d+)?%?|\b\w+[._]\w*[a-z]\b", re.ASCII)


def said(note: Note | None) -> str:
    """The English sentence of a note whose Korean one says as much."""
    assert note is not None
    assert _HANGUL.search(note.ko) and not _HANGUL.search(note.en)
    assert set(_FIGURES_AND_NAMES.findall(note.en)) == set(_FIGURES_AND_NAMES.findall(note.ko)), note
    return note.en
