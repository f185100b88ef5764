"""The PDF as a reader's program sees it: pages, text, fonts, and what happens when it cannot be made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typst
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from hcopt.errors import OutputError
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import RankedVariant
from hcopt.report.charts import PRINT_THEME
from hcopt.report.pages.content import build
from hcopt.report.pictures import to_svg
from hcopt.report.render.drawings import Drawing, chart_specs, drawn_charts
from hcopt.words import Language
from tests.support.records import (
    LIGHT,
    MODEL_NAME,
    RUN_ID,
    default_variant,
    measurement,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.reports import drawn_once, write_pdf
from tests.support.search_records import searched_record
from tests.support.verdict_records import (
    default_beats_record,
    default_wins_record,
    equal_load_record,
    limit_open_record,
    noisy_record,
    only_best_feasible_record,
    tied_runner_up_record,
)

HANGUL = re.compile("[가-힣]")
VERDICTS = [
    (run_record(), "en", "Deploy config_6: throughput +30% against the default (95% interval +28% to +32%)"),
    (run_record(), "ko", "config_6 배포 권장: 기본 설정 대비 처리량 +30% (95% 신뢰구간 +28% ~ +32%)"),
    (tied_record(), "en", "the default can stay"),
    (tied_record(), "ko", "기본 설정 유지 가능"),
    (undecided_record(), "en", "about 36 blocks would decide, 8 were measured"),
    (undecided_record(), "ko", "판정에는 약 36개 블록 필요(현재 8개)"),
    (no_feasible_config_record(), "en", "the closest, config_4 at concurrency 8, has 3.12 ms (1.56 times the limit)"),
    (no_feasible_config_record(), "ko", "가장 근접한 config_4(concurrency 8)의 p99는 3.12 ms(한도의 1.56배)"),
    (default_beats_record(), "en", "Keep the default: throughput +12% (95% interval +10% to +14%) against config_5"),
    (default_beats_record(), "ko", "기본 설정 유지: 나머지 중 가장 나은 config_5 대비 처리량 +12%"),
    (only_best_feasible_record(), "en", "Deploy config_6: the default misses the p99 limit on fresh data."),
    (only_best_feasible_record(), "ko", "config_6 배포 권장. 기본 설정: 검증 측정에서 p99 한도 초과."),
    (
        limit_open_record(),
        "en",
        "Whether config_6 keeps the p99 limit is not decided: 0.80% of its requests took longer",
    ),
    (limit_open_record(), "ko", "config_6 p99 한도 충족 미확인: 한도 초과 요청 0.80%"),
    (equal_load_record(), "en", "its own best load (32 and 8). At the same load: throughput +30%, p99 −20%."),
    (equal_load_record(), "ko", "각 설정의 최적 부하(32, 8) 기준. 동일 부하에서는 처리량 +30%, p99 −20%."),
    (noisy_record(), "en", "CPU steal up to 12%"),
    (noisy_record(), "ko", "측정 구간을 3초로 연장"),
    (tied_runner_up_record(), "en", "as fast as config_10, with 2 instead of 3 instances"),
    (tied_runner_up_record(), "ko", "config_10와 동등한 처리량, 인스턴스 3개 → 2개"),
]


class Pdf(PdfReader):
    """A report that was made; the text of each page is read once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._texts: dict[int, str] = {}

    def text(self, number: int) -> str:
        if number not in self._texts:
            self._texts[number] = self.pages[number].extract_text()
        return self._texts[number]

    @property
    def plain_pages(self) -> list[str]:
        return [_plain(self.text(number)) for number in range(len(self.pages))]

    @property
    def whole(self) -> str:
        return " ".join(self.plain_pages)


Made = Callable[..., Pdf]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Reports by run, language and options, each made once."""
    folder, documents = tmp_path_factory.mktemp("pdf"), dict[str, Pdf]()

    def document(run: RunRecord, language: Language = "en", **options: Any) -> Pdf:
        key = f"{run} {language} {options}"
        if key not in documents:
            path = folder / f"{len(documents)}.pdf"
            options.setdefault("drawn", drawn_once(run, language))
            write_pdf(run, language=language, path=path, **options)
            documents[key] = Pdf(path)
        return documents[key]

    return document


def _plain(text: str) -> str:
    """Without what only sets the lines: breaks, and the spaces that hold words together."""
    return re.sub(r"\s+", " ", text)


def _fonts(resources: DictionaryObject) -> set[str]:
    """Names of the fonts of a page or drawing, each of which has to be embedded."""
    found: set[str] = set()
    for font in resources.get("/Font", {}).values():
        descendant = font.get_object()["/DescendantFonts"][0].get_object()
        embedded = {"/FontFile", "/FontFile2", "/FontFile3"} & set(descendant["/FontDescriptor"].get_object())
        assert embedded
        found.add(str(descendant["/BaseFont"]).lstrip("/").partition("+")[2])
    for drawing in resources.get("/XObject", {}).values():
        found |= _fonts(drawing.get_object().get("/Resources", DictionaryObject()))
    return found


def _many_variants() -> RunRecord:
    """200 variants at one load; every tenth measurement failed."""
    variants = tuple(
        ModelConfigVariant(
            config_name=f"{MODEL_NAME}_config_{number}",
            max_batch_size=batch,
            instance_count=count,
            max_queue_delay_us=delay,
        )
        for number, (count, delay, batch) in enumerate(
            product((1, 2, 3, 4, 5), (0, 100, 200, 500, 1000), (1, 2, 4, 8, 16, 32, 64, 128))
        )
    )
    run = run_record()
    sweep = [
        measurement(variant, LIGHT, None if number % 10 == 9 else (5000.0 + 7 * number, 3.0 + number / 9))
        for number, variant in enumerate((default_variant(), *variants))
    ]
    ranked = tuple(
        RankedVariant(
            variant=m.variant,
            load=m.load,
            throughput_infer_per_s=m.throughput_infer_per_s or 0.0,
            latency_p99_ms=m.latency.p99_ms,
            feasible=True,
        )
        for m in reversed(sweep)
        if m.latency is not None
    )
    confirmation = [m for m in run.measurements if m.phase == "confirmation"]
    return replace(
        run,
        plan=replace(run.plan, variants=variants, loads=(LIGHT,)),
        measurements=(*sweep, *confirmation),
        ranking=replace(run.ranking, ranked=ranked),
    )


def _in_korean(run: RunRecord) -> dict[str, Drawing]:
    """A run's charts with their Korean specifications, of which the first page's alone is drawn.

    The others look as in English, where they have the same sizes.
    """
    english = drawn_once(run, "en")
    drawn = {name: replace(english[name], spec=spec) for name, spec in chart_specs(run, language="ko").items()}
    if "pair" in drawn:
        drawn["pair"] = replace(drawn["pair"], svg=to_svg(drawn["pair"].spec, PRINT_THEME))
    return drawn


@pytest.mark.parametrize(
    ("run", "language", "verdict"), VERDICTS, ids=[f"{run.confirmation.verdict}-{code}" for run, code, _ in VERDICTS]
)
def test_first_page_gives_the_verdict_in_its_language(made, run, language, verdict):
    # One report in Korean has all its charts in Korean: it is read whole below.
    mixed = language == "ko" and run != run_record()
    drawn = _in_korean(run) if mixed else drawn_once(run, language)
    report = made(run, language, **({"drawn": drawn} if mixed else {}))
    assert 3 <= len(report.pages) <= 7
    assert verdict in _plain(report.text(0))
    # All of the first page's content is on it, and nothing of it spilled over to the second.
    assert _plain(report.text(1)).startswith(
        ("Confirmation:", "검증:", "Where a request spends its time", "요청 처리 시간의 구성")
    )
    # What every page and chart can show; one report in each language is read whole below.
    for shown in (asdict(build(run, language=language)), *(drawing.spec for drawing in drawn.values())):
        assert bool(HANGUL.search(json.dumps(shown, ensure_ascii=False))) == (language == "ko")


@pytest.mark.parametrize("language", ["ko", "en"])
def test_all_pages_are_in_one_language(made, language):
    assert bool(HANGUL.search(made(run_record(), language).whole)) == (language == "ko")


def test_first_page_has_the_table_of_the_document_and_the_golden_configuration(made):
    first = made(run_record()).plain_pages[0]
    for text in (
        "Max Batch Size 16 8",
        "Instance Count 1 2",
        "Max Queue Delay 0 µs 500 µs",
        "Load (concurrency) 32 32",
        "4,951 infer/s 95% CI 4,885 to 5,017",
        "6,438 infer/s 95% CI 6,352 to 6,524",
        "9.93 ms 95% CI 9.77 to 10.10",
        "7.96 ms 95% CI 7.81 to 8.12",
        "Over 50 ms 0.1% 0.05% to 0.2% 0.1% 0.05% to 0.2% Limit holds for both: at most 1%",
        "p99 limit 50 ms, config_6 holds 0.1% (0.05% to 0.2%) slower, 1% allowed",
        "Sustainable rate, one server ≥ 4,800 infer/s Poisson arrivals, p99 within 50 ms",
        "max_batch_size: 8",
        "max_queue_delay_microseconds",
        "50–65%",
    ):
        assert text in first


def test_later_pages_have_what_the_verdict_rests_on(made):
    text = made(run_record()).whole
    for expected in (
        "Between config_6 and config_5 nothing is decided: +3.0%",
        "about 22 blocks would decide",
        "config_7 32 perf_analyzer gave no result within 30 s, twice; its process group was killed",
        "1 of 42 measurements gave no figures",
        "onnxruntime (Python-based)",
        "Intel(R) Xeon(R) Processor @ 2.60GHz, 2 cores (cpuset 0-1)",
        "server and load generator share the CPUs 0-1 · no SMT siblings seen · NUMA node 0 · no CPU quota",
        "Another hcopt measures on this machine",
        "hcopt profile --config config.yaml",
        "Why it wins",
        "5,280 8 0.89% 0.52% to 1.53% 47.10 not shown",
        "Differences below 6% cannot be told apart on this machine",
        "keeps each at T = 3,505 infer/s",
        "5,000 3 6 1,667",
        "hcopt scale-check 20261123T010203Z-3f9a",
        "exact signed-rank",
        "p ≤ 0.01",
        "within ±2%",
    ):
        assert expected in text


def test_every_page_has_the_run_and_its_number(made):
    pages = made(run_record(), "ko").plain_pages
    for number, text in enumerate(pages, start=1):
        assert RUN_ID in text and f"{number} / {len(pages)} 쪽" in text


def test_fonts_are_embedded_and_are_the_reports_own(made):
    found = set().union(*(_fonts(page["/Resources"]) for page in made(run_record(), "ko").pages))
    assert {"HcoptGothic-Regular", "HcoptGothic-Bold"} <= found
    assert all(name.startswith(("HcoptGothic-", "DejaVuSansMono")) for name in found)


def test_no_feasible_config_offers_no_configuration(made):
    text = made(no_feasible_config_record()).whole
    assert "What can be tried" in text and "the lowest was concurrency 8" in text
    assert "config.pbtxt" not in text


def test_default_that_wins_is_kept(made):
    first = made(default_wins_record(None)).plain_pages[0]
    assert "The default itself has the most throughput within the limit: nothing to change." in first
    assert "Default config.pbtxt (unchanged)" in first


def test_golden_configuration_can_be_copied_from_the_page(made):
    golden = 'name: "m"\nmax_batch_size: 8\ninput [\n  {\n    name: "in"\n    dims: [ -1, 10 ]\n  }\n]\n'
    run = run_record(best_config_pbtxt=golden, default_config_pbtxt=golden.replace("8", "16"))
    assert golden.rstrip() in made(run, drawn=drawn_once(run_record(), "en")).text(0)


def test_price_adds_the_cost(made):
    assert "Cost per million inferences – ≤ 0.208" in made(run_record(), price_per_hour=3.6).whole


@pytest.mark.parametrize("language", ["ko", "en"])
def test_users_text_is_shown_as_it_is_and_never_run(made, language):
    hostile = '#read("/etc/passwd")*_$x$'
    run = run_record()
    failed = tuple(replace(m, error=f"error {hostile}\n\x1b[31mred") if m.error else m for m in run.measurements)
    config = f"# {hostile}\nname: {hostile}"
    run = replace(
        run,
        model=replace(run.model, name=hostile, source_uri=f"s3://{hostile}\udcff"),
        measurements=failed,
        notes=tuple(
            Note.of("error", message=note) for note in (f"note {hostile}", "@cite <label> = heading", "// comment")
        ),
        command=f"hcopt {hostile}",
        best_config_pbtxt=config,
    )
    report = made(run, language)
    text = report.whole
    for shown in (
        f"error {hostile} [31mred",
        f"note {hostile}",
        f"hcopt {hostile}",
        f"s3://{hostile}?",
        f"# {hostile}",
    ):
        assert shown in text
    assert "@cite <label> = heading" in text and "// comment" in text
    assert "root:" not in text
    assert report.metadata is not None and str(report.metadata.title).startswith(hostile)


def _long_texts() -> RunRecord:
    name = "model_" + "x" * 94
    run = run_record()
    failed = tuple(replace(m, error="/folder/" + "z" * 400) if m.error else m for m in run.measurements)
    return replace(
        run,
        model=replace(run.model, name=name),
        measurements=failed,
        command="hcopt " + "-" * 300,
        notes=(Note.of("error", message="/folder/" + "y" * 400),),
        best_config_pbtxt=f'name: "{name}"\nmax_batch_size: 8',
    )


def _unrelated_names() -> RunRecord:
    """Names that do not start with the model's cannot be shortened."""
    run = run_record()
    assert run.confirmation.best is not None
    variant = replace(run.confirmation.best.variant, config_name="w" * 100, parameters=(("k" * 40, "v" * 40),))
    return replace(run, confirmation=replace(run.confirmation, best=replace(run.confirmation.best, variant=variant)))


def test_long_model_name_is_whole_and_has_nothing_in_it_that_a_copy_would_take_along(made):
    first = made(_long_texts()).text(0).replace("\n", "")
    # In the title and in config.pbtxt.
    assert first.count("model_" + "x" * 94) == 2


@pytest.mark.parametrize(
    "run",
    [
        searched_record(),
        no_feasible_config_record(),
        equal_load_record(),
        noisy_record(),
        _long_texts(),
        _unrelated_names(),
    ],
    ids=range(6),
)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_nothing_runs_over_the_margins(tmp_path, monkeypatch, run, language):
    compiled: list[bytes] = []

    def as_pictures(*arguments: Any, **options: Any) -> bytes:
        compiled.extend(compile_pdf(*arguments, **options, format="png", ppi=50))
        return b""

    compile_pdf = typst.compile
    monkeypatch.setattr(typst, "compile", as_pictures)
    write_pdf(run, language=language, drawn=drawn_once(run, language), path=tmp_path / "report.pdf")
    assert len(compiled) >= 2
    for picture in compiled:
        page = Image.open(BytesIO(picture)).convert("L")
        # Margins are 16 mm of 210; half a millimetre is left for the smoothing of edges.
        margin = round(page.width * 15.5 / 210)
        for left in (0, page.width - margin):
            assert page.crop((left, 0, left + margin, page.height)).getextrema() == (255, 255)
        assert page.getextrema()[0] < 100


def test_long_configuration_is_cut_on_the_first_page_and_whole_on_a_later_one(made):
    inputs = "".join(f'input {{\n  name: "in_{number}"\n  dims: 10\n}}\n' for number in range(30))
    default = f"max_batch_size: 16\n{inputs}instance_group {{\n  count: 1\n}}"
    run = run_record(default_config_pbtxt=default, best_config_pbtxt=default.replace("count: 1", "count: 2"))
    # The charts show nothing of the configuration's text.
    report = made(run, drawn=drawn_once(run_record(), "en"))
    first = report.text(0)
    assert "instance_group {\n  count: 2\n}" in first and "…" in first and "in_7" not in first
    text = report.whole
    assert all(f'"in_{number}"' in text for number in range(30))


def test_two_hundred_variants_have_all_their_rows_under_repeated_headers(made):
    pages = made(_many_variants()).plain_pages
    assert len(pages) <= 10
    text = " ".join(pages)
    assert all(re.search(rf"\bconfig_{number}\b", text) for number in range(200))
    table = [page for page in pages if len(re.findall(r"\bconfig_\d+ \d+ \d+ ", page)) > 10]
    assert len(table) > 2 and all("Throughput (infer/s) p99 (ms)" in page for page in table)


def test_same_run_gives_the_same_file(tmp_path):
    drawn = drawn_charts(run_record(), language="ko")
    assert drawn == drawn_once(run_record(), "ko")
    write_pdf(run_record(), language="ko", drawn=drawn, path=tmp_path / "a.pdf")
    write_pdf(run_record(), language="ko", drawn=drawn_once(run_record(), "ko"), path=tmp_path / "b.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_report_that_cannot_be_written_is_an_output_error_and_leaves_nothing(tmp_path):
    (tmp_path / "report.pdf").mkdir()
    with pytest.raises(OutputError, match=r"cannot write the report .*report\.pdf"):
        write_pdf(run_record(), language="en", drawn={}, path=tmp_path / "report.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the report"):
        write_pdf(run_record(), language="en", drawn={}, path=tmp_path / "file" / "report.pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "report.pdf"]


def test_report_that_cannot_be_made_is_an_output_error_and_keeps_the_older_one(tmp_path, monkeypatch):
    path = tmp_path / "report.pdf"
    path.write_bytes(b"older")
    monkeypatch.setattr("hcopt.report.pictures.to_svg", lambda *_: "no drawing")
    with pytest.raises(OutputError, match=f"cannot make the report on run {RUN_ID}"):
        write_pdf(run_record(), language="en", path=path)
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("report.pdf", b"older")]
