"""The charts show what the run holds: read from their specification, and drawn once each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hcopt.report import charts
from hcopt.report.selection import pairing
from hcopt.schema import LoadPoint, ModelConfigVariant, RankedVariant, RunRecord
from tests.records import no_feasible_config_record, run_record, tied_record, undecided_record

RUNS = [run_record(), tied_record(), undecided_record(), no_feasible_config_record()]


def _nodes(spec: Any) -> Iterator[dict[str, Any]]:
    if isinstance(spec, dict):
        yield spec
        for value in spec.values():
            yield from _nodes(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _nodes(value)


def _rows(spec: Any, field: str) -> list[dict[str, Any]]:
    """Every data row of the specification that has `field`, each once."""
    rows = [row for node in _nodes(spec) for row in node.get("values", []) if isinstance(row, dict) and field in row]
    return list({repr(row): row for row in rows}.values())


def _sweep(run: RunRecord, language: str = "en") -> dict[str, Any]:
    return charts.throughput_against_p99(run, language=language).to_dict()


def _pair(run: RunRecord, language: str = "en") -> dict[str, Any]:
    return charts.default_against_best(run, language=language).to_dict()


def _scales(spec: dict[str, Any]) -> set[str]:
    return {node["x"]["scale"]["type"] for node in _nodes(spec) if "type" in node.get("x", {}).get("scale", {})}


def _many(count: int) -> RunRecord:
    run = run_record()
    entries = tuple(
        RankedVariant(
            variant=ModelConfigVariant(
                config_name=f"HomeCreditDefaultModel_config_{number}",
                max_batch_size=1 + number,
                instance_count=1,
                max_queue_delay_us=0,
            ),
            load=LoadPoint(concurrency=8),
            throughput_infer_per_s=9000.0 - number,
            latency_p99_ms=1.0 + number / 2,
            feasible=number < 98,
        )
        for number in range(count)
    )
    return replace(run, ranking=replace(run.ranking, ranked=entries))


def test_pair_shows_the_confirmed_figures_with_their_intervals():
    rows = _rows(_pair(run_record()), "shown")
    assert [(row["shown"], row["low"], row["high"]) for row in rows] == [
        ("4,951", 4884.9, 5017.1),
        ("6,438", 6352.1, 6523.9),
        ("9.93", 9.77, 10.10),
        ("7.96", 7.81, 8.12),
    ]


def test_pair_has_no_interval_where_only_the_sweep_measured():
    assert {(row["low"], row["high"]) for row in _rows(_pair(no_feasible_config_record()), "shown")} == {(None, None)}


def test_pair_draws_a_limit_that_is_near_and_names_one_that_is_far():
    near = _pair(no_feasible_config_record())
    assert {"value": 2.0} in [row for node in _nodes(near) for row in node.get("values", [])]
    far = _pair(run_record())
    assert {"value": 50.0} not in [row for node in _nodes(far) for row in node.get("values", [])]
    assert "lower is better · limit 50\u00a0ms" in far["hconcat"][1]["title"]["subtitle"]


def test_pair_names_the_load_under_each_bar_where_the_loads_differ():
    run = run_record()
    assert run.confirmation.default is not None
    light = replace(run.confirmation.default, load=LoadPoint(concurrency=8))
    differing = replace(run, confirmation=replace(run.confirmation, default=light))
    assert [row["label"] for row in _rows(_pair(differing), "label")][:2] == [
        "Default\nconfig_default\nconcurrency\n8",
        "Best\nconfig_6\nconcurrency\n32",
    ]
    assert "concurrency" not in _rows(_pair(run), "label")[0]["label"]


def test_sweep_shows_every_ranked_variant_once():
    run = run_record()
    rows = _rows(_sweep(run), "group")
    assert sorted(row["name"] for row in rows) == sorted(
        entry.variant.config_name.removeprefix("HomeCreditDefaultModel_") for entry in run.ranking.ranked
    )
    assert {row["name"]: row["group"] for row in rows if row["role"]} == {
        "config_6": "best",
        "config_5": "runner-up",
        "config_default": "default",
    }


def test_sweep_marks_what_misses_the_limit():
    groups = {row["name"]: row["group"] for row in _rows(_sweep(_many(200)), "group")}
    assert groups["config_97"] == "within the limit" and groups["config_98"] == "over the limit"


def test_sweep_draws_a_limit_only_where_there_is_one():
    run = run_record()
    unlimited = replace(run, ranking=replace(run.ranking, latency_p99_limit_ms=None))
    assert [row["p99_ms"] for row in _rows(_sweep(run), "shown")] == [50.0]
    assert _rows(_sweep(unlimited), "shown") == []
    assert "other configuration" in {row["group"] for row in _rows(_sweep(unlimited), "group")}


@pytest.mark.parametrize(("run", "scale"), [(run_record(), "log"), (no_feasible_config_record(), "linear")])
def test_sweep_axis_is_logarithmic_only_where_latencies_lie_far_apart(run, scale):
    assert _scales(_sweep(run)) == {scale}


def test_sweep_follows_the_pair_over_its_loads():
    # config_1 has the default's settings: both measurements of a load are one point.
    lines = _rows(_sweep(run_record()), "order")
    assert [(row["name"], round(row["throughput"], 2)) for row in lines] == [
        ("config_default", 3418.8),
        ("config_default", 4996.5),
        ("config_6", 4210.7),
        ("config_6", 6514.0),
    ]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.confirmation.verdict)
@pytest.mark.parametrize("chart", [charts.default_against_best, charts.throughput_against_p99])
def test_drawing_keeps_hangul_as_text_in_the_reports_font(run, chart):
    svg = charts.to_svg(chart(run, language="ko"))
    assert svg.startswith("<svg") and "처리량" in svg and 'font-family="Hcopt Gothic"' in svg
    assert not re.search("[가-힣]", charts.to_svg(chart(run, language="en")))


@pytest.mark.parametrize("count", [1, 2, 200])
def test_sweep_draws_any_number_of_variants(count):
    svg = charts.to_svg(charts.throughput_against_p99(_many(count), language="en"))
    assert svg.count('aria-roledescription="point"') == count


def test_drawing_shortens_a_long_name_that_does_not_start_with_the_models():
    run = run_record()
    assert run.confirmation.best is not None
    variant = replace(run.confirmation.best.variant, config_name="x" * 100)
    best = replace(run.confirmation.best, variant=variant)
    run = replace(run, confirmation=replace(run.confirmation, best=best))
    assert pairing(run).right is not None
    widths = [
        float(re.search(r'width="([\d.]+)"', charts.to_svg(charts.default_against_best(each, language="en")))[1])
        for each in (run_record(), run)
    ]
    assert widths[1] < 1.1 * widths[0]


def test_names_are_data_and_never_expressions():
    run = run_record()
    hostile = "datum.low'+alert(1)+'\\n<script>"
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, variant=replace(run.confirmation.best.variant, config_name=hostile))
    run = replace(run, confirmation=replace(run.confirmation, best=best))
    spec = _pair(run)
    expressions = [node[key] for node in _nodes(spec) for key in ("labelExpr", "expr", "filter") if key in node]
    assert expressions and not [text for text in expressions if "alert" in str(text)]
    assert "<script>" not in charts.to_svg(charts.default_against_best(run, language="en"))


@pytest.mark.parametrize("chart", [charts.default_against_best, charts.throughput_against_p99])
def test_chart_describes_itself_for_those_who_cannot_see_it(chart):
    assert len(str(chart(run_record(), language="ko").description)) > 20
