"""A model on several kinds of machines: which to take, what is not shown, and the page where there is only one."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from importlib import resources
from io import StringIO
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from hcopt.cli.show.run import print_models
from hcopt.config.sections import Config, ReportSection
from hcopt.deploy.answers import answer
from hcopt.deploy.capacity import Growth
from hcopt.job.batch import FinishedBatch, _Batch
from hcopt.job.executors import Executor, Executors
from hcopt.job.run import FinishedRun, Job
from hcopt.job.summary import summarize_batch
from hcopt.records.json import JsonObject
from hcopt.records.run import ModelOutcome, RunFailure
from hcopt.records.verdict import Estimate
from hcopt.report.facts.hardware import HardwareAnswer, hardware_answers
from hcopt.report.pages.overview import Overview, overview_of
from hcopt.report.render.html import write_overview
from hcopt.store.run_folder import RunFolder, new_run
from hcopt.system.progress import Progress
from hcopt.words import Language, texts
from tests.support.finished_run import write_finished_run
from tests.support.records import MODEL_NAME, capacity, run_record

EPYC, XEON, ARM = "AMD EPYC 7R13", "Intel Xeon 8375C", "Neoverse-N1"
URI = "models:/Scoring@prod"
STARTED_AT = "2026-01-02T03:04:05+00:00"
REFUSED = RunFailure(exit_code=4, message="Triton does not <b>start</b>", remedy=None)


def kind(cpu: str) -> str:
    return f"{cpu}, 8 CPUs, 32 GB"


def measured(cpu: str, low: float | None, high: float | None = None, *, uri: str = URI) -> ModelOutcome:
    """A kind that sustains a rate between the two, infer/s."""
    record = run_record(
        capacity=capacity(sustainable_rate_infer_per_s=Estimate(estimate=1.0, ci_low=low, ci_high=high))
    )
    record = replace(record, environment=replace(record.environment, cpu_model=cpu, cpu_count=8))
    return ModelOutcome(source_uri=uri, label=f"{MODEL_NAME}-{cpu}", hardware=kind(cpu), run_id="r", record=record)


def unmeasured(cpu: str, failure: RunFailure | None = None) -> ModelOutcome:
    return ModelOutcome(source_uri=URI, label=URI, hardware=kind(cpu), failure=failure)


def prices(**of: float) -> ReportSection:
    return ReportSection(price_per_hour=of)


# 0.36 an hour at 1,000 infer/s are 0.1 for a million inferences.
PRICES = prices(EPYC=0.36, Xeon=0.72)
NONE = ReportSection()
FAST, SLOW = measured(XEON, 1500, 1600), measured(EPYC, 1000, 1200)


def answers(*outcomes: ModelOutcome, report: ReportSection = NONE, language: Language = "en") -> list[HardwareAnswer]:
    return list(hardware_answers(outcomes, report.price_of, texts(language)))


def page(*outcomes: ModelOutcome, report: ReportSection = NONE, language: Language = "en") -> Overview:
    return overview_of(outcomes, run_id="run", started_at=STARTED_AT, language=language, price_of=report.price_of)


def html(tmp_path: Path, *outcomes: ModelOutcome, report: ReportSection = NONE, language: Language = "en") -> str:
    path = tmp_path / "overview.html"
    write_overview(
        outcomes, run_id="run", started_at=STARTED_AT, language=language, price_of=report.price_of, path=path
    )
    return path.read_text(encoding="utf-8")


# --- the sentence ----------------------------------------------------------------------------------------------------


def test_without_prices_the_kind_that_sustains_most_is_named_and_how_far_the_next_one_is() -> None:
    [found] = answers(SLOW, FAST)
    assert found.title == f"Hardware for {MODEL_NAME}"
    assert found.shown
    assert found.sentence == (
        "Intel Xeon 8375C (8 CPUs, 32 GB) sustains most: at least 1,500 infer/s with p99 within 50\u00a0ms. "
        "AMD EPYC 7R13 (8 CPUs, 32 GB), the next, sustains 33% less (at least 20%)."
    )


def test_with_prices_the_kind_that_costs_least_is_named_and_how_far_the_next_one_is() -> None:
    [found] = answers(SLOW, FAST, report=PRICES)
    assert found.shown
    # 0.72 / 3600 / 1500 and 0.72 / 3600 / 1600 against 0.36 / 3600 / 1000, a million times.
    assert found.sentence == (
        "AMD EPYC 7R13 (8 CPUs, 32 GB) costs least: at most 0.1 per million inferences with p99 within 50\u00a0ms. "
        "Intel Xeon 8375C (8 CPUs, 32 GB), the next, costs 33% more (at least 25%)."
    )


def test_korean_says_the_same() -> None:
    [rate], [cost] = answers(SLOW, FAST, language="ko"), answers(SLOW, FAST, report=PRICES, language="ko")
    epyc, xeon = f"{EPYC}(8 CPUs, 32 GB)", f"{XEON}(8 CPUs, 32 GB)"
    assert rate.sentence.startswith(f"{xeon}: 지속 처리량 최고, p99 50\u00a0ms 이내에서 최소 1,500 infer/s.")
    assert rate.sentence.endswith(f"{epyc}: 33% 더 낮음(최소 20%).")
    assert cost.sentence.startswith(f"{epyc}: 비용 최저, p99 50\u00a0ms 이내에서 추론 100만 건당 최대 0.1.")
    assert cost.sentence.endswith(f"{xeon}: 33% 더 높음(최소 25%).")


@pytest.mark.parametrize("high", [1500, 1700, None])
def test_rates_whose_intervals_overlap_show_no_difference(high: float | None) -> None:
    [found] = answers(measured(EPYC, 1000, high), FAST)
    assert not found.shown
    assert found.sentence == (
        "Which hardware sustains most with p99 within 50\u00a0ms is not shown: the intervals of the first 2 overlap."
    )
    assert found.figures == (
        f"{XEON} (8 CPUs, 32 GB): 1,500 to 1,600 infer/s",
        f"{EPYC} (8 CPUs, 32 GB): " + ("≥ 1,000 infer/s" if high is None else f"1,000 to {high:,} infer/s"),
    )


def test_costs_whose_intervals_overlap_show_no_difference() -> None:
    [found] = answers(SLOW, measured(XEON, 1500, 2000), report=PRICES)
    assert not found.shown
    assert found.sentence == (
        "Which hardware costs least with p99 within 50\u00a0ms is not shown: the intervals of the first 2 overlap."
    )
    assert found.figures == (
        f"{EPYC} (8 CPUs, 32 GB): 0.0833 to 0.1 per million inferences",
        f"{XEON} (8 CPUs, 32 GB): 0.1 to 0.133 per million inferences",
    )
    [unbounded] = answers(SLOW, measured(XEON, 1500), report=PRICES)
    assert unbounded.figures[1] == f"{XEON} (8 CPUs, 32 GB): ≤ 0.133 per million inferences"


def test_third_kind_that_may_be_best_leaves_nothing_shown() -> None:
    [found] = answers(FAST, SLOW, measured(ARM, 500))
    assert not found.shown
    assert "the first 2" in found.sentence
    assert [line.split(" (")[0] for line in found.figures] == [XEON, ARM, EPYC]


def test_kind_without_a_price_is_not_compared_by_cost() -> None:
    [found] = answers(SLOW, FAST, measured(ARM, 9000, 9100), report=PRICES)
    assert found.sentence.startswith(EPYC)
    assert found.left_out == (f"Not compared: {ARM} (8 CPUs, 32 GB): its price is not given",)


def test_one_price_alone_says_nothing_of_cost() -> None:
    [found] = answers(SLOW, FAST, report=prices(Xeon=0.72))
    assert found.sentence.startswith(f"{XEON} (8 CPUs, 32 GB) sustains most")
    assert found.left_out == ()


def test_kinds_that_cannot_be_compared_are_named_with_the_reason() -> None:
    unchecked = replace(SLOW, hardware="D", record=run_record(capacity=None))
    [found] = answers(unmeasured("A", REFUSED), unmeasured("B"), measured("C", None), unchecked, FAST)
    assert found.sentence.startswith(f"Only {XEON} (8 CPUs, 32 GB) is shown to sustain a rate")
    assert not found.shown
    assert [line.removeprefix("Not compared: ") for line in found.left_out] == [
        "A (8 CPUs, 32 GB): Triton does not <b>start</b>",
        "B (8 CPUs, 32 GB): not measured yet",
        "C (8 CPUs, 32 GB): at no rate that was tried is the limit shown to hold",
        "D: the rate that it sustains was not measured",
    ]


def test_without_a_limit_nothing_is_compared_and_the_reason_is_said() -> None:
    record = run_record(capacity=None)
    record = replace(record, ranking=replace(record.ranking, latency_p99_limit_ms=None))
    [found] = answers(replace(SLOW, record=record), replace(FAST, record=record))
    assert found.sentence == "No hardware is shown to sustain a rate within the limit."
    assert all("constraints.latency_p99_ms" in line for line in found.left_out)


def test_there_is_no_answer_before_two_kinds_have_ended() -> None:
    assert answers(FAST, unmeasured(EPYC)) == []
    assert answers(FAST, unmeasured(EPYC, REFUSED)) != []


def test_a_report_that_is_missing_takes_no_kind_out() -> None:
    unwritten = replace(SLOW, failure=RunFailure(exit_code=7, message="no report", remedy=None))
    assert answers(unwritten, FAST) == answers(SLOW, FAST)


# --- the page --------------------------------------------------------------------------------------------------------


def test_rows_of_a_model_stand_under_one_name(tmp_path: Path) -> None:
    other = replace(SLOW, source_uri="other"), replace(FAST, source_uri="other")
    found = page(SLOW, FAST, *other, report=PRICES)
    assert found.heading == "2 models on 2 kinds of hardware"
    assert [row.heads for row in found.rows] == [True, False, True, False]
    assert {row.name for row in found.rows} == {MODEL_NAME}
    assert [row.hardware.value for row in found.rows if row.hardware] == [EPYC, XEON] * 2
    assert len(found.answers) == 2
    text = html(tmp_path, SLOW, FAST, *other)
    assert (text.count('scope="rowgroup"'), text.count('scope="row"'), text.count("<tbody>")) == (2, 4, 2)


def test_one_model_named_twice_has_two_names() -> None:
    assert [row.heads for row in page(SLOW, FAST, SLOW, FAST).rows] == [True, False, True, False]


def test_heading_names_the_only_model() -> None:
    assert page(SLOW, FAST).heading == f"{MODEL_NAME} on 2 kinds of hardware"
    assert page(SLOW, FAST, language="ko").heading == f"{MODEL_NAME}, 장비 2종"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_cost_has_a_column_where_a_price_is_known(tmp_path: Path, language: Language) -> None:
    outcomes = (SLOW, FAST, measured(ARM, 10), unmeasured("A", REFUSED), measured("EPYC none", None))
    found = page(*outcomes, report=PRICES, language=language)
    costs = [row.cost.value if row.cost else None for row in found.rows]
    assert costs == ["≤ 0.1", "≤ 0.133", None, None, None]
    heading = texts(language)["row_cost"]
    priced, unpriced = html(tmp_path, *outcomes, report=PRICES, language=language), html(tmp_path, *outcomes)
    assert f"{heading}<small>" in priced and heading not in unpriced
    for text in (priced, unpriced):
        columns = text.count('<th scope="col">')
        for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)[1:]:
            spanned = sum(int(width) - 1 for width in re.findall(r'colspan="(\d)"', row))
            assert len(re.findall("<t[hd] ?", row)) + spanned == columns


def test_costs_of_whatever_currency_have_no_exponent() -> None:
    found = page(measured(EPYC, 10, 12), measured(XEON, 1e6, 2e6), report=prices(EPYC=500, Xeon=0.5))
    assert [row.cost.value for row in found.rows if row.cost] == ["≤ 13,889", "≤ 0.000139"]


@pytest.mark.parametrize("hardware", [None, kind(EPYC)])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_page_of_one_kind_says_nothing_of_hardware(tmp_path: Path, language: Language, hardware: str | None) -> None:
    outcomes = [replace(outcome, hardware=hardware) for outcome in (SLOW, replace(FAST, source_uri="other"))]
    found = page(*outcomes, report=PRICES, language=language)
    assert (found.answers, found.has_kinds, found.has_cost) == ((), False, False)
    assert [row.name for row in found.rows] == [outcome.label for outcome in outcomes]
    text = html(tmp_path, *outcomes, report=PRICES, language=language)
    assert text.count('<th scope="col">') == 6
    assert 'class="hardware"' not in text and "<section" not in text and "rowgroup" not in text


def test_names_that_are_markup_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    evil = "<script>alert('{best}')</script> & \"x\""
    text = html(tmp_path, measured(evil, 10), FAST, unmeasured(f"{evil}2", REFUSED), report=PRICES)
    assert "<script" not in text and "<b>" not in text
    assert "&lt;script&gt;alert(" in text and "{best}" in text
    assert "Triton does not &lt;b&gt;start&lt;/b&gt;" in text


# --- summary.json ----------------------------------------------------------------------------------------------------


def summary(*outcomes: ModelOutcome, report: ReportSection) -> list[JsonObject]:
    found: JsonObject = json.loads(
        json.dumps(
            summarize_batch(
                outcomes, run_id="run", started_at=STARTED_AT, command="hcopt", tracking=None, price_of=report.price_of
            ),
            allow_nan=False,
        )
    )
    schema = json.loads(resources.files("hcopt").joinpath("schemas/summary.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    models: list[JsonObject] = found["models"]
    return models


def test_summary_has_hardware_and_cost() -> None:
    none, some = measured("EPYC none", None), measured(ARM, 10)
    models = summary(SLOW, FAST, none, some, unmeasured("A", REFUSED), report=PRICES)
    assert [model["hardware"] for model in models] == [kind(cpu) for cpu in (EPYC, XEON, "EPYC none", ARM, "A")]
    assert math.isclose(models[0]["cost_per_million"], 0.1)
    assert math.isclose(models[1]["cost_per_million"], 0.72 / 3600 / 1500 * 1e6)
    assert models[2]["cost_per_million"] is None
    assert not any("cost_per_million" in model for model in models[3:])


def test_summary_of_this_machine_alone_has_no_hardware() -> None:
    [model] = summary(replace(SLOW, hardware=None), report=NONE)
    assert model["hardware"] is None and "cost_per_million" not in model


# --- the terminal ----------------------------------------------------------------------------------------------------


def closing(*outcomes: ModelOutcome, report: ReportSection = NONE) -> str:
    console = Console(file=StringIO(), soft_wrap=True, width=200)
    finished = FinishedBatch(folder=RunFolder(results=Path("/r"), run_id="run"), outcomes=outcomes, tracked=None)
    print_models(console, finished, report.price_of)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_closing_has_the_hardware_and_the_same_sentence() -> None:
    outcomes = (SLOW, FAST, unmeasured("\x1b[31mA", REFUSED))
    text, [found] = closing(*outcomes, report=PRICES), answers(*outcomes, report=PRICES)
    assert re.search("EPYC 7R13, 8 CPUs, 32 GB .* better .* ≥ 1,000", text)
    sentence = found.sentence.replace("\u00a0", " ")
    assert f"{found.title}: {sentence}\n{found.figures[0]}\n" in text
    assert "\nNot compared: " in text
    assert "\x1b" not in text


def test_closing_of_one_kind_says_nothing_of_hardware() -> None:
    text = closing(replace(SLOW, source_uri="a"), replace(SLOW, source_uri="b"), report=PRICES)
    assert "hardware" not in text and "8 CPUs" not in text


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu", "said"),
    [
        ("AMD EPYC 7R13 Processor", "EPYC-7R13-8"),
        ("AMD EPYC 7R13 48-Core Processor", "EPYC-7R13-8"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "Xeon-Platinum-8375C-8"),
        ("13th Gen Intel(R) Core(TM) i9-13900K", "Core-i9-13900K-8"),
        ("AMD Ryzen 7 5800H with Radeon Graphics", "Ryzen-7-5800H-8"),
        ("Intel Xeon Processor (Skylake, IBRS)", "Xeon-Skylake-IBRS-8"),
        ("Neoverse-N1", "Neoverse-N1-8"),
        ("../../etc/ 종류 한글", "etc-8"),
        ("", "CPU-8"),
        ("x" * 29 + " " + "y" * 40, "x" * 29 + "-8"),
    ],
)
def test_kind_has_a_short_name_for_folders(cpu: str, said: str) -> None:
    assert replace(run_record().environment, cpu_model=cpu, cpu_count=8).slug == said
    assert re.fullmatch(r"[A-Za-z0-9-]{1,32}", said)


@pytest.mark.parametrize(
    ("kinds", "labels"),
    [
        ((None,), [MODEL_NAME, f"{MODEL_NAME}-2"]),
        (("one",), [MODEL_NAME, f"{MODEL_NAME}-2"]),
        (("one", "two"), [f"{MODEL_NAME}-EPYC-7R13-8", f"{MODEL_NAME}-EPYC-7R13-8-2", f"{MODEL_NAME}-Neoverse-N1-8"]),
    ],
)
def test_label_has_the_kind_only_where_there_are_several(
    tmp_path: Path, kinds: tuple[str | None, ...], labels: list[str]
) -> None:
    job = Job(config=Config(), results=tmp_path, command="hcopt")
    executors = Executors(all=tuple(Executor(name=name) for name in kinds))
    whole = new_run(tmp_path)
    outcomes = [ModelOutcome(source_uri=URI, label=URI) for _ in labels]
    run = _Batch(job=job, executors=executors, folder=whole, progress=Progress(), outcomes=outcomes)
    for index, cpu in enumerate((EPYC, EPYC, ARM)[: len(labels)]):
        record = measured(cpu, 1000).record
        assert record is not None
        run._finished(index, FinishedRun(folder=new_run(whole.path), record=record, tracked=None))
    assert [outcome.label for outcome in run.outcomes] == labels


# --- hcopt capacity --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "given", "price"),
    [
        (0.36, None, 0.36),
        ({"EPYC": 0.36, "Xeon": 0.72}, None, 0.72),
        ({"EPYC": 0.36}, None, None),
        (None, None, None),
        ({"Xeon": 0.72}, 3.6, 3.6),
        (0.36, 0.0, 0.0),
    ],
)
def test_capacity_goes_by_the_recorded_price_of_its_cpu(
    tmp_path: Path, recorded: float | dict[str, float] | None, given: float | None, price: float | None
) -> None:
    folder = write_finished_run(tmp_path, Config(report=ReportSection(price_per_hour=recorded)))
    found = answer(folder, growth=Growth(factor=2, within_s=600), price_per_hour=given)
    if price is None:
        assert (found.cost_per_million, found.planned_cost_per_million) == (None, None)
    else:
        assert found.cost_per_million == pytest.approx(price / 3600 / found.capacity_infer_per_s * 1e6)
        assert found.planned_cost_per_million == pytest.approx(price / 3600 / found.target_infer_per_s * 1e6)
