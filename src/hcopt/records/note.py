"""What the user has to know, in each language of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the user has to know, as one sentence in each language of the report; names and figures are filled in.

    Attributes:
        en: For the terminal, files for machines, and the English report.
        ko: For the Korean report; words of third-party tools stay as they are.
    """

    en: str
    ko: str
