"""Every word of report, terminal and notes, in Korean and in English: tables with the same keys and placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from hcopt.words import (
    charts,
    comparison,
    evidence,
    method,
    nodes,
    overview,
    pods,
    search_path,
    sections,
    verdict,
)

Language = Literal["ko", "en"]
Text = Mapping[str, str]

_PARTS = (verdict, comparison, charts, evidence, nodes, pods, search_path, sections, method, overview)

EN: Text = MappingProxyType({key: value for part in _PARTS for key, value in part.EN.items()})
KO: Text = MappingProxyType({key: value for part in _PARTS for key, value in part.KO.items()})


def texts(language: Language) -> Text:
    """The table of a language."""
    return KO if language == "ko" else EN
