"""What the report says of an adaptive search: how it went, what it dropped, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hcopt.records.run import RunRecord
from hcopt.report.pages.content import build
from hcopt.report.pages.search_path import search_section
from hcopt.report.values import Section
from hcopt.words import EN, KO
from tests.support.records import run_record
from tests.support.search_records import decisions, search_end, searched_record


def _section(run: RunRecord | None = None) -> Section:
    found = search_section(run or searched_record(), EN)
    assert found is not None
    return found


def _ended(**changes: Any) -> str:
    others = tuple(one for one in decisions() if one.action != "stop")
    return _section(searched_record(decisions=(*others, search_end(**changes)))).lines[-1]


def test_run_of_model_analyzer_has_no_search():
    report = build(run_record(), language="en")
    assert "search" not in [section.name for section in report.sections]
    assert report.measurements_title == "All measurements of the sweep"


def test_search_says_how_much_it_measured_how_long_it_took_and_why_it_ended():
    assert _section().lines == (
        "8 windows at 6 of 8 configurations in 7.4 s; the budget was 2 min 0 s.",
        "It ended because going on would have gained 0.12% of throughput on average.",
    )


def test_facts_count_what_became_of_the_configurations():
    assert dict(_section().facts) == {
        "Kept to the end": "3: config_6, config_5, config_3",
        "Dropped as too slow": "2, after 5.1 s",
        "Dropped as over the limit": "1, after 7.4 s",
        "Never measured": "2: what their neighbours showed gave no reason to",
    }


def test_best_guess_is_named_with_the_safe_one_behind_it():
    run = searched_record()
    best, second = run.ranking.ranked[:2]
    guessed = replace(run, ranking=replace(run.ranking, bold=second))
    said = dict(_section(guessed).facts)["Best guess"]
    assert said.startswith(f"{second.variant.config_name.split('_', 1)[1]} at ")
    assert said.endswith(f"the safe one is {best.variant.config_name.split('_', 1)[1]}.")


def test_table_explains_the_dropped_ones_that_came_closest():
    table = _section().table
    assert table is not None
    assert [[cell.value for cell in row] for row in table.rows] == [
        ["config_4", "over the limit at every load", "32", "7.4\u00a0s", "−7.0%", "61.50"],
        ["config_0", "too slow at every load within the limit", "32", "5.1\u00a0s", "−29%", "10.40"],
        ["config_default", "too slow at every load within the limit", "8", "5.1\u00a0s", "−48%", "10.40"],
    ]
    assert table.rows[1][0].detail == "batch 8 · 1 inst. · 0 µs" and table.rows[1][4].detail == "−38% to −18%"


def test_run_without_a_limit_has_no_latencies_of_dropped_ones():
    run = searched_record()
    table = _section(replace(run, ranking=replace(run.ranking, latency_p99_limit_ms=None))).table
    assert table is not None and "p99 (ms)" not in table.header
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert table.rows[1][1].value == "too slow at every load"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cause": "time", "gain_ratio": None}, "its time was up"),
        ({"cause": "windows", "gain_ratio": 0.031}, "would have gained 3.1% of throughput"),
        ({"cause": "windows", "gain_ratio": None}, "nothing was likely to keep the p99 limit"),
        ({"cause": "nothing_left", "gain_ratio": None}, "nothing was left that could be measured"),
    ],
)
def test_reason_for_the_end_is_said(changes, said):
    assert said in _ended(**changes)


def test_large_search_names_few_of_its_configurations():
    drop = next(one for one in decisions() if one.action == "drop")
    many = tuple(replace(drop, config_name=f"m_config_{number}") for number in range(4000))
    section = _section(searched_record(decisions=(*decisions(), *many)))
    assert section.table is not None and len(section.table.rows) == 5
    assert section.note.startswith("5 of 4,003 dropped configurations")


def test_search_in_which_nothing_was_dropped_says_so():
    section = _section(searched_record(decisions=tuple(one for one in decisions() if one.action != "drop")))
    assert section.table is None and section.note.startswith("Nothing was dropped")


def test_windows_of_a_point_are_one_row():
    report = build(searched_record(), language="en")
    rows = [row for row in report.measurements if row.name == "config_6"]
    assert [(row.load, row.throughput) for row in rows] == [("32", "6,540")]
    assert "Means over the windows" in report.measurements_caption
    assert report.measurements_title == "All points that the search measured"


@pytest.mark.parametrize(("language", "text"), [("en", EN), ("ko", KO)])
def test_method_speaks_of_the_search_and_not_of_a_whole_grid(language, text):
    method = " ".join(build(searched_record(), language=language).method)
    assert text["method_search"].partition(":")[0] + ":" in method
    assert text["method_sweep"].partition(":")[0] + ":" not in method
