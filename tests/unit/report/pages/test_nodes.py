"""What report and summary.json say of the nodes that measured a run."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from hcopt.analysis.node_effects import effects_taken_out, node_effects
from hcopt.records.run import RunRecord
from hcopt.report.pages.content import build
from hcopt.report.values import Section
from hcopt.words import EN, KO, Language, texts
from tests.support.node_records import names, on_nodes
from tests.support.records import noise, run_record
from tests.support.reports import write_html, write_pdf
from tests.support.search_records import decisions
from tests.unit.job.test_summary import model_of

LANGUAGES: tuple[Language, ...] = ("en", "ko")
HOSTILE = '<script>alert(1)</script> & "x" #strong[a] $y$'


def section_of(run: RunRecord, language: Language = "en") -> Section | None:
    return next((one for one in build(run, language=language).sections if one.name == "nodes"), None)


def shown(run: RunRecord, language: Language = "en") -> Section:
    found = section_of(run, language)
    assert found is not None
    return found


def rows_of(section: Section) -> list[list[str]]:
    assert section.table is not None
    return [[cell.value for cell in row] for row in section.table.rows]


@pytest.mark.parametrize("language", LANGUAGES)
def test_run_on_one_machine_says_nothing_of_nodes(language: Language) -> None:
    report = build(run_record(), language=language)
    assert "nodes" not in [section.name for section in report.sections]
    assert texts(language)["fact_nodes"] not in dict(report.environment)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Everything was measured on one node of the cluster: worker-01 (10.0.3.1)."),
        ("ko", "모든 측정은 클러스터의 노드 1대에서 수행: worker-01 (10.0.3.1)."),
    ],
)
def test_single_node_is_only_named(language: Language, said: str) -> None:
    section = shown(on_nodes(names(1)), language)
    assert section.lines == (said,) and section.table is None and section.note == ""


@pytest.mark.parametrize(
    ("language", "header", "lines"),
    [
        (
            "en",
            "Node, Noise, Sweep, Confirmation, Capacity, Effect on throughput, Effect on p99, Highest CPU steal",
            (
                "Figures of the sweep are compared after these effects have been taken out.",
                "Finalists and default were confirmed on worker-01 (10.0.3.1).",
            ),
        ),
        (
            "ko",
            "노드, 노이즈, 스윕, 검증, 용량, 처리량 영향, p99 영향, 최대 CPU steal",
            (
                "스윕 측정값은 아래의 노드별 영향을 제거한 후 비교.",
                "최종 후보와 기본 설정의 검증 노드: worker-01 (10.0.3.1).",
            ),
        ),
    ],
)
def test_three_nodes_are_a_row_each_the_fastest_first(language: Language, header: str, lines: tuple[str, ...]) -> None:
    section = shown(on_nodes(names(3), noise=noise()), language)
    assert section.lines == lines and section.table is not None and ", ".join(section.table.header) == header
    assert rows_of(section) == [
        ["worker-03 (10.0.3.3)", "–", "6", "–", "–", "+10%", "−9.4%", "0.6%"],
        ["worker-02 (10.0.3.2)", "–", "8", "–", "–", "+0.3%", "−0.3%", "0.4%"],
        ["worker-01 (10.0.3.1)", "12", "8", "24", "4", "−9.7%", "+11%", "0.4%"],
    ]
    assert section.note == texts(language)["nodes_note"]


def test_effects_are_those_that_the_ranking_takes_out() -> None:
    found = noise(pair_sd_ratio=0.08)
    run = on_nodes(names(3), noise=found)
    swept = [m for m in run.measurements if m.phase == "sweep"]
    assert effects_taken_out(run) == node_effects(swept, noise_ratio=found.window_sd_ratio)
    assert effects_taken_out(replace(run, noise=None)) == node_effects(swept, noise_ratio=None)


@pytest.mark.parametrize(("language", "unknown"), [("en", "not known"), ("ko", "미확인")])
def test_node_without_links_has_no_effects_and_the_note_says_why(language: Language, unknown: str) -> None:
    section = shown(on_nodes(names(2), unlinked=("lonely",)), language)
    assert rows_of(section)[-1] == ["lonely", "–", "1", "–", "–", unknown, unknown, "–"]
    assert section.note.endswith(texts(language)["nodes_note_unknown"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_node_that_took_no_part_in_the_sweep_is_not_linked(language: Language) -> None:
    run = on_nodes(names(2))
    elsewhere = tuple(replace(m, node="proof") if m.phase == "confirmation" else m for m in run.measurements)
    section = shown(replace(run, measurements=elsewhere), language)
    assert rows_of(section)[-1][0] == "proof" and rows_of(section)[-1][-2] == texts(language)["nodes_unknown"]
    assert section.lines[1] == texts(language)["nodes_confirmed"].format(nodes="proof")


@pytest.mark.parametrize("text", [EN, KO])
def test_where_no_effect_is_known_the_sweep_is_compared_as_measured(text: dict[str, str]) -> None:
    language: Language = "en" if text is EN else "ko"
    apart = on_nodes(names(1), unlinked=("a",))
    assert shown(apart, language).lines[0] == text["nodes_as_measured"]
    swept_by_one = tuple(m for m in apart.measurements if m.node != "a" or m.phase != "sweep")
    proved = tuple(replace(m, node="b") if m.phase == "confirmation" else m for m in swept_by_one)
    one = replace(apart, measurements=proved)
    assert shown(one, language).lines[0] == text["nodes_swept_one"].format(node=names(1)[0])


def test_adaptive_search_is_ranked_as_it_was_measured() -> None:
    run = on_nodes(names(2), decisions=decisions())
    assert not any(effect.linked for effect in effects_taken_out(run))
    assert shown(run).lines[0] == EN["nodes_as_measured"]


def test_confirmation_that_was_resumed_elsewhere_names_both_nodes() -> None:
    run = on_nodes(names(2))
    moved = tuple(
        replace(m, node=names(2)[1]) if m.phase == "confirmation" and m.block == 7 else m for m in run.measurements
    )
    line = shown(replace(run, measurements=moved)).lines[1]
    assert line == "Finalists and default were confirmed on worker-01 (10.0.3.1), worker-02 (10.0.3.2)."


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "20 of 25 nodes, those with the largest effects; 5 more are in summary.json. "),
        ("ko", "노드 25대 중 영향이 큰 20대, 나머지 5대는 summary.json 참고. "),
    ],
)
def test_of_many_nodes_those_with_the_largest_effects_are_shown(language: Language, said: str) -> None:
    section = shown(on_nodes(names(25)), language)
    found = [row[0] for row in rows_of(section)]
    # Their speeds rise with their numbers: the five in the middle differ least.
    in_the_middle = names(25)[10:15]
    assert found == [name for name in reversed(names(25)) if name not in in_the_middle]
    assert section.note.startswith(said)


def test_no_node_is_left_out_at_twenty() -> None:
    section = shown(on_nodes(names(20)))
    assert len(rows_of(section)) == 20 and section.note == EN["nodes_note"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_environment_says_that_it_is_that_of_a_kind_of_node(language: Language) -> None:
    text = texts(language)
    facts = dict(build(on_nodes(names(3)), language=language).environment)
    assert facts[text["fact_nodes"]] == text["fact_nodes_value"].format(count=3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_names_are_text_in_the_page(language: Language, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_html(on_nodes((HOSTILE, "a\u202eb\x1b[31m\nc")), language=language, drawn={}, path=path)
    page = path.read_text(encoding="utf-8")
    section = page.partition('<section id="nodes">')[2].partition("</section>")[0]
    assert "<script>alert" not in page and "\u202e" not in page and "\x1b" not in page
    assert HOSTILE in unescape(re.sub(r"<[^>]*>", " ", section)) and "a b [31m c" in section


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_names_are_text_on_paper(language: Language, tmp_path: Path) -> None:
    from pypdf import PdfReader

    path = tmp_path / "result_summary.pdf"
    write_pdf(on_nodes((HOSTILE, "n" * 300)), language=language, drawn={}, path=path)
    text = " ".join(page.extract_text() for page in PdfReader(path).pages)
    assert HOSTILE in re.sub(r"\s+", " ", text)


def test_summary_has_an_entry_a_node() -> None:
    run = on_nodes(names(2), unlinked=("lonely",))
    first, second, lonely = model_of(run)["nodes"]
    assert (first["name"], first["measurements"], first["linked"]) == ("worker-01 (10.0.3.1)", 50, True)
    assert first["throughput_ratio"] < 1 < second["throughput_ratio"]
    assert second["latency_p99_ratio"] < 1 < first["latency_p99_ratio"]
    assert lonely == {
        "name": "lonely",
        "measurements": 1,
        "throughput_ratio": 1.0,
        "latency_p99_ratio": 1.0,
        "linked": False,
    }


def test_summary_has_all_of_many_nodes_and_none_of_one_machine() -> None:
    assert [node["name"] for node in model_of(on_nodes(names(25)))["nodes"]] == list(names(25))
    assert model_of(run_record())["nodes"] == []
