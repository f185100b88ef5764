"""The charts show what the run holds: read from their specification, and drawn once each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from hcopt.analysis.stats import ratio_interval
from hcopt.analysis.view import pairing
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate, RankedVariant
from hcopt.report import charts
from hcopt.report.pictures import to_svg
from hcopt.report.render.drawings import drawn_charts
from hcopt.words import EN, KO
from tests.support.evidence_records import evidence_record, many_variants_record, noisy_record
from tests.support.records import (
    HEAVY,
    default_first,
    default_variant,
    measurement,
    no_feasible_config_record,
    run_record,
    tied_record,
)
from tests.support.search_records import searched_record

ALL = ["pair", "breakdown", "blocks", "sweep", "heat_map", "load_curve", "rates", "pod"]


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
    return charts.CHARTS["sweep"](run, language=language).to_dict()


def _pair(run: RunRecord, language: str = "en") -> dict[str, Any]:
    return charts.CHARTS["pair"](run, language=language).to_dict()


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
    assert "lower is better · limit 50\u00a0ms" in far["concat"][1]["title"]["subtitle"]


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


def _charts(run: RunRecord, language: str = "en") -> dict[str, dict[str, Any]]:
    """Specifications by name, each checked against Vega-Lite's schema."""
    return {name: chart.to_dict() for name, chart in charts.all_charts(run, language=language).items()}


def _svg(chart: charts.Chart) -> str:
    return to_svg(chart.to_dict(), charts.PRINT_THEME)


def _spec(name: str, run: RunRecord, language: str = "en") -> dict[str, Any]:
    chart = charts.CHARTS[name](run, language=language)
    assert chart is not None
    spec: dict[str, Any] = chart.to_dict()
    return spec


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (evidence_record(), ALL),
        (replace(run_record(), capacity=None), [name for name in ALL if name not in ("rates", "pod")]),
        (no_feasible_config_record(), ["pair", "breakdown", "sweep", "heat_map", "load_curve"]),
        (many_variants_record(), [name for name in ALL if name != "load_curve"]),
        (replace(run_record(), ranking=replace(run_record().ranking, ranked=())), []),
        (searched_record(), [*ALL, "search"]),
    ],
    ids=range(6),
)
def test_run_has_the_charts_that_it_has_data_for(run, names):
    assert list(_charts(run)) == names


@pytest.mark.parametrize(
    ("run", "language"),
    [
        (evidence_record(), "ko"),
        (evidence_record(), "en"),
        (noisy_record(), "ko"),
        (tied_record(), "en"),
        (no_feasible_config_record(), "ko"),
    ],
    ids=range(5),
)
def test_every_chart_keeps_its_language_and_the_reports_font_when_drawn(run, language):
    for chart in charts.all_charts(run, language=language).values():
        svg = _svg(chart)
        assert svg.startswith("<svg") and 'font-family="Hcopt Gothic"' in svg
        assert bool(re.search("[가-힣]", svg)) == (language == "ko")
        assert bool(re.search("[가-힣]", str(chart.description))) == (language == "ko")


def test_same_chart_gives_the_same_drawing_whatever_was_drawn_before():
    chart = charts.CHARTS["heat_map"](run_record(), language="en")
    assert _svg(chart) == _svg(chart)


@pytest.mark.parametrize("run", [evidence_record(), many_variants_record(), no_feasible_config_record()], ids=range(3))
def test_every_figure_under_the_pointer_has_a_title_in_the_readers_language(run):
    for language, table in (("ko", KO), ("en", EN)):
        for spec in _charts(run, language).values():
            fields = [tip for node in _nodes(spec) for tip in node.get("encoding", {}).get("tooltip", [])]
            assert fields and {tip["title"] for tip in fields} <= set(table.values())


def test_sweep_puts_finalists_where_the_confirmation_found_them_with_both_intervals():
    run = run_record()
    assert run.confirmation.best is not None
    best = next(row for row in _rows(_sweep(run), "group") if row["role"] == "best")
    assert (best["throughput"], best["p99_ms"]) == (6438.0, 7.96)
    bars = _rows(_sweep(run), "throughput_low")
    assert {
        (row["p99_low"], row["p99_high"], row["throughput_low"], row["throughput_high"])
        for row in bars
        if row["throughput"] == 6438.0
    } == {(7.81, 8.12, 6352.1, 6523.9)}
    assert "Error bars" in _sweep(run)["title"]["text"]
    assert "title" not in _sweep(no_feasible_config_record())


def test_sweep_draws_an_interval_of_hardly_any_blocks_not_far_beyond_the_points():
    run = run_record()
    assert run.confirmation.best is not None
    p99 = run.confirmation.best.latency_p99_ms
    wild = replace(run.confirmation.best, latency_p99_ms=replace(p99, ci_low=1e-7, ci_high=1e7))
    spec = _sweep(replace(run, confirmation=replace(run.confirmation, best=wild)))
    values = [row["p99_ms"] for row in _rows(spec, "p99_ms")]
    bars = [row for row in _rows(spec, "p99_low") if row["p99_low"] is not None]
    assert min(row["p99_low"] for row in bars) == min(values) / 2
    assert max(row["p99_high"] for row in bars) <= max(values) * 2
    best = next(row for row in _rows(spec, "group") if row["role"] == "best")
    assert "10,000,000" in best["p99_shown"], "the figure under the pointer keeps its interval"


def test_heat_map_has_a_cell_for_every_setting_with_its_best_load_within_the_limit():
    cells = _rows(_spec("heat_map", run_record()), "batch")
    assert len(cells) == 8
    # config_7 failed at concurrency 32: its cell is the other load's.
    found = {(cell["delay"], cell["batch"], cell["instances"]): cell for cell in cells}
    assert found["Queue delay 500 µs", 16, 2]["shown"] == "4,187"
    assert found["Queue delay 500 µs", 16, 2]["load"] == "concurrency 8"
    # config_1 has the default's settings: the mean of both.
    assert found["Queue delay 0 µs", 16, 1]["shown"] == "4,996"
    assert [key for key, cell in found.items() if cell["framed"]] == [("Queue delay 500 µs", 8, 2)]


def test_heat_map_takes_the_best_load_that_keeps_the_limit():
    run = run_record()
    limited = replace(run, ranking=replace(run.ranking, latency_p99_limit_ms=8.0))
    cells = {cell["name"]: cell for cell in _rows(_spec("heat_map", limited), "batch")}
    assert cells["config_6"]["load"] == "concurrency 32" and cells["config_5"]["load"] == "concurrency 8"


def test_heat_map_marks_what_misses_the_limit_and_what_was_not_measured():
    cells = _rows(_spec("heat_map", many_variants_record()), "batch")
    states = [cell["state"] for cell in cells]
    assert len(cells) == 200 and states.count("not measured") == 20
    assert states.count("over the limit at every load") > 10
    assert all((cell["state"] is None) == (cell["throughput"] is not None) for cell in cells)
    assert {cell["state"] for cell in _rows(_spec("heat_map", no_feasible_config_record()), "batch")} == {
        "over the limit at every load"
    }


def test_heat_map_names_a_variant_without_dynamic_batching():
    run = run_record()
    variants = tuple(replace(variant, dynamic_batching=variant.max_queue_delay_us > 0) for variant in run.plan.variants)
    delays = [
        cell["delay"]
        for cell in _rows(_spec("heat_map", replace(run, plan=replace(run.plan, variants=variants))), "batch")
    ]
    assert set(delays) == {"No dynamic batching", "Queue delay 500 µs"} and delays[0] == "No dynamic batching"


def test_load_curve_follows_the_pair_and_draws_a_limit_that_is_near():
    rows = _rows(_spec("load_curve", evidence_record()), "concurrency")
    assert [(row["name"], row["concurrency"], round(row["throughput"])) for row in rows] == [
        ("default", 8, 3419),
        ("default", 16, 4930),
        ("default", 32, 4996),
        ("config_6", 8, 4211),
        ("config_6", 16, 5821),
        ("config_6", 32, 6514),
    ]
    near = _spec("load_curve", no_feasible_config_record())
    assert {"p99_ms": 2.0} in [row for node in _nodes(near) for row in node.get("values", [])]
    far = _spec("load_curve", evidence_record())
    assert {"p99_ms": 50.0} not in [row for node in _nodes(far) for row in node.get("values", [])]
    assert "limit 50\u00a0ms" in far["concat"][0]["title"]["text"]


def test_load_curve_keeps_to_one_client_batch_size():
    run = run_record()
    batched = replace(HEAVY, client_batch_size=4, concurrency=64)
    other = measurement(default_variant(), batched, (9000.0, 20.0))
    rows = _rows(_spec("load_curve", replace(run, measurements=(*run.measurements, other))), "concurrency")
    assert 64 not in {row["concurrency"] for row in rows}


def test_breakdown_sets_the_pair_side_by_side_at_equal_load_too():
    rows = _rows(_spec("breakdown", evidence_record()), "stage")
    assert list(dict.fromkeys(row["bar"] for row in rows)) == [
        "Default · config_default\nconcurrency 16",
        "Default · config_default\nconcurrency 32",
        "Best · config_6\nconcurrency 32",
    ]
    assert [row["stage"] for row in rows[:4]] == ["Queue", "Compute input", "Compute infer", "Compute output"]
    assert all(left["end"] == right["start"] for left, right in pairwise(rows[:4]))
    assert {row["source"] for row in rows} == {"confirmation"}


def test_breakdown_is_the_mean_over_the_confirmations_windows():
    run = run_record()
    windows = [
        m.server
        for m in run.measurements
        if m.phase == "confirmation" and m.variant == default_variant() and m.server is not None
    ]
    queue = next(row for row in _rows(_spec("breakdown", run), "stage") if row["bar"].startswith("Default"))
    assert queue["end"] == pytest.approx(sum(times.queue_us for times in windows) / len(windows) / 1000)


def test_breakdown_takes_the_sweep_where_nothing_was_confirmed_and_is_left_out_without_statistics():
    run = no_feasible_config_record()
    assert {row["source"] for row in _rows(_spec("breakdown", run), "stage")} == {"sweep"}
    silent = replace(run, measurements=tuple(replace(m, server=None) for m in run.measurements))
    assert "breakdown" not in _charts(silent)


def test_blocks_pair_the_finalists_and_show_the_ratios_interval():
    run = evidence_record()
    spec = _spec("blocks", run)
    rows = [row for row in _rows(spec, "throughput") if "block" in row]
    assert len(rows) == 36 and {row["block"] for row in rows} == set(range(1, 13))
    # The default at the load of the best is another measurement.
    assert max(row["throughput"] for row in rows if row["role"] == "default") < 5050
    assert run.confirmation.improvement is not None
    ratio = run.confirmation.improvement.throughput_ratio
    assert {"ratio": ratio.ci_low, "high": ratio.ci_high} in _rows(spec, "ratio")
    ratios = [row["ratio"] for row in _rows(spec, "ratio") if "block" in row]
    assert len(ratios) == 12
    assert ratio_interval(ratios, 12 * [1.0]).estimate == pytest.approx(ratio.estimate)


def test_blocks_show_no_ratio_where_nothing_was_compared():
    run = run_record()
    alone = replace(run, confirmation=replace(run.confirmation, default=None, improvement=None))
    assert len(_spec("blocks", alone)["concat"]) == 1


def test_blocks_of_a_default_that_wins_name_it_once():
    run = run_record()
    found = run.confirmation
    kept = replace(found, verdict="tied", best=found.default, improvement=None)
    run = replace(run, confirmation=kept, ranking=default_first(run.ranking))
    names = {row["name"] for row in _rows(_spec("blocks", run), "block") if "name" in row}
    assert names == {"config_default (default)", "config_5 (runner-up)"}


def test_rates_show_misses_the_limit_and_the_sustainable_rate():
    spec = _spec("rates", evidence_record())
    assert [(row["rate"], row["verdict"]) for row in _rows(spec, "rate") if "verdict" in row] == [
        (1900.0, "holds"),
        (3700.0, "holds"),
        (4650.0, "holds"),
        (5100.0, "not shown"),
        (5600.0, "missed"),
    ]
    values = [row for node in _nodes(spec) for row in node.get("values", [])]
    assert {"rate": 4650.0} in values and {"miss": 0.01} in values and {"p99_ms": 50.0} in values


def test_rates_draw_no_sustainable_rate_where_none_was_found():
    run = evidence_record()
    assert run.capacity is not None
    none = replace(run.capacity, sustainable_rate_infer_per_s=Estimate(estimate=0.0, ci_low=0.0, ci_high=1900.0))
    spec = _spec("rates", replace(run, capacity=none))
    assert [row for row in _rows(spec, "rate") if "verdict" not in row] == []


@pytest.mark.parametrize("run", [evidence_record(), noisy_record()], ids=["quiet", "noisy"])
def test_charts_of_a_run_without_a_limit_do_not_speak_of_one(run):
    unlimited = replace(run, ranking=replace(run.ranking, latency_p99_limit_ms=None), capacity=None)
    for name, drawing in drawn_charts(unlimited, language="en").items():
        words = " ".join(re.findall("<text[^>]*>([^<]*)", drawing.svg))
        assert words and "limit" not in drawing.title + words, name


def test_drawings_have_a_title_a_text_for_those_who_cannot_see_them_and_a_picture():
    for language in ("ko", "en"):
        drawn = drawn_charts(evidence_record(), language=language)
        assert list(drawn) == ALL
        for drawing in drawn.values():
            assert drawing.title and len(drawing.alt) > 15 and drawing.svg.startswith("<svg")
            assert bool(re.search("[가-힣]", drawing.title)) == (language == "ko")


@pytest.mark.parametrize("count", [1, 2, 200])
def test_sweep_draws_any_number_of_variants(count):
    svg = _svg(charts.CHARTS["sweep"](_many(count), language="en"))
    assert svg.count('aria-roledescription="point"') == count


def test_drawing_shortens_a_long_name_that_does_not_start_with_the_models():
    run = run_record()
    assert run.confirmation.best is not None
    variant = replace(run.confirmation.best.variant, config_name="x" * 100)
    best = replace(run.confirmation.best, variant=variant)
    run = replace(run, confirmation=replace(run.confirmation, best=best))
    assert pairing(run).right is not None
    widths = [
        float(re.search(r'width="([\d.]+)"', _svg(charts.CHARTS["pair"](each, language="en")))[1])
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
    assert "<script>" not in _svg(charts.CHARTS["pair"](run, language="en"))


def test_search_places_windows_in_time_and_colours_them_by_what_became_of_their_variant():
    rows = _rows(_spec("search", searched_record()), "fate")
    found = {(row["time_s"], row["name"]): (row["fate"], row["limit"]) for row in rows}
    # Between two decisions the windows are spread evenly: four in 3.2 s, two in the next 1.9 s.
    assert found[0.8, "config_default"] == ("other finalist", "p99 within the limit")
    assert found[1.6, "config_3"] == ("kept to the end", "p99 within the limit")
    assert found[3.2, "config_0"] == ("dropped: too slow", "p99 within the limit")
    assert found[5.1, "config_4"] == ("dropped: over the limit", "p99 over the limit")
    assert found[6.25, "config_6"] == ("best of the confirmation", "p99 within the limit")


def test_search_follows_the_best_so_far():
    steps = _rows(_spec("search", searched_record()), "best")
    # config_5, then config_6 by one window, then by the mean of both.
    assert steps == [{"time_s": 3.2, "best": 6220.0}, {"time_s": 5.1, "best": 6610.0}, {"time_s": 7.4, "best": 6540.0}]


def test_search_without_a_limit_has_no_marks_for_it():
    run = searched_record()
    spec = _spec("search", replace(run, ranking=replace(run.ranking, latency_p99_limit_ms=None)))
    assert not [node for node in _nodes(spec) if "shape" in node.get("encoding", {})]


def test_pod_adds_up_to_its_capacity():
    parts = _rows(_spec("pod", run_record()), "part")
    assert [part["part"].partition(":")[0] for part in parts] == [
        "target T",
        "HPA tolerance",
        "growth until new pods serve",
    ]
    assert parts[0]["start"] == 0 and parts[-1]["end"] == 4800.0
    assert all(left["end"] == right["start"] for left, right in pairwise(parts))
    assert parts[1]["end"] == pytest.approx(1.1 * parts[0]["end"])
