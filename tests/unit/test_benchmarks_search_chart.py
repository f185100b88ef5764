"""The head-to-head's rows, table line and chart."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.search.chart import search_chart, write_chart
from benchmarks.search.rows import Row, line

ROW = Row(
    recording="sample",
    points=240,
    noise_ratio=0.12,
    own_noise=True,
    method="brute",
    replays=100,
    share_median=0.947,
    share_p5=0.0,
    breaks_ratio=0.4,
    load_s=732.0,
    wall_s=1128.0,
    windows=244.0,
)
ROWS = [ROW, replace(ROW, method="adaptive", wall_s=129.0), replace(ROW, noise_ratio=0.03, own_noise=False)]


def test_line_shows_shares_as_percent_and_noise_as_own() -> None:
    assert line(ROW) == "| sample | 240 | 12% (own) | brute | 94.7% | 0.0% | 40.0% | 732 | 1128 | 244 |"


def test_rows_come_back_from_json_as_they_were() -> None:
    assert TypeAdapter(list[Row]).validate_json(json.dumps([asdict(row) for row in ROWS])) == ROWS


def test_chart_has_a_panel_for_each_recording_and_noise() -> None:
    titles = [panel["title"] for panel in search_chart(ROWS).to_dict()["concat"]]
    assert titles == ["sample: 240 points, noise 12% (own)", "sample: 240 points, noise 3%"]


def test_chart_is_drawn(tmp_path: Path) -> None:
    write_chart(ROWS, tmp_path / "search.svg")
    assert "adaptive" in (tmp_path / "search.svg").read_text(encoding="utf-8")
