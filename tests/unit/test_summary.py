"""The content of summary.json."""

from __future__ import annotations

import json

from hcopt.summary import summarize
from tests.records import run_record


def test_notes_are_the_english_sentences() -> None:
    summary = json.loads(json.dumps(summarize(run_record(), tracking=None)))
    assert summary["models"][0]["notes"] == ["Load generator and server share the CPUs 0-1."]
