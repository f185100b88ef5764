"""The HTML report in a real browser: charts, tooltips, no network, phones, dark mode, and text that stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from hcopt.errors import OutputError
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.report.render.drawings import drawn_charts
from hcopt.words import Language
from tests.support.browser import DESKTOP, PHONE, chromium, chromium_without_korean, open_file, shown_as
from tests.support.evidence_records import evidence_record, infeasible_record, many_variants_record, noisy_record
from tests.support.records import MODEL_NAME, run_record, tied_record
from tests.support.reports import write_html

__all__ = ["chromium", "chromium_without_korean"]

HANGUL = re.compile("[가-힣]")
# In the page's order.
CHARTS = ["pair", "blocks", "breakdown", "rates", "pod", "sweep", "heat_map", "load_curve"]
# Wide enough for a machine that is busy with other things.
PATIENCE_S = 20


def _named(name: str) -> RunRecord:
    run = evidence_record()
    return replace(run, model=replace(run.model, name=name))


RUNS: dict[str, Callable[[], RunRecord]] = {
    "better": evidence_record,
    "tied": tied_record,
    "undecided": noisy_record,
    "no_feasible_config": infeasible_record,
    "many": many_variants_record,
    "long": lambda: _named("model_" + "x" * 94),
}
# Drawing takes a second or two, so not every run is drawn in both languages.
PAGES: list[tuple[str, Language]] = [
    ("better", "en"),
    ("better", "ko"),
    ("tied", "ko"),
    ("undecided", "en"),
    ("no_feasible_config", "ko"),
    ("many", "en"),
    ("long", "ko"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Language], Path]:
    """Reports by run and language, each made once."""
    folder = tmp_path_factory.mktemp("pages")

    def page(run: str, language: Language) -> Path:
        path = folder / f"{run}_{language}.html"
        if not path.exists():
            write_html(RUNS[run](), language=language, path=path)
        return path

    return page


def _charts(browser: Chrome) -> list[WebElement]:
    """Every chart of the page, once all of them are drawn."""
    boxes = browser.find_elements(By.CSS_SELECTOR, "[data-chart]")
    WebDriverWait(browser, PATIENCE_S).until(lambda _: all(box.find_elements(By.TAG_NAME, "svg") for box in boxes))
    return boxes


def _console(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def _requests(browser: Chrome) -> list[str]:
    """Address of every request since the page was opened."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def _hover(browser: Chrome, mark: WebElement) -> dict[str, str]:
    """What the tooltip says of a mark, by title."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).perform()
    tip = WebDriverWait(browser, PATIENCE_S).until(
        lambda _: browser.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible")
    )[0]
    cells = [cell.text for cell in tip.find_elements(By.TAG_NAME, "td")]
    return dict(zip(cells[::2], cells[1::2], strict=True))


def test_all_charts_are_drawn_without_an_error_and_without_the_network(chromium, pages):
    shown_as(chromium)
    open_file(chromium, pages("better", "en"))
    boxes = _charts(chromium)
    assert [box.get_attribute("data-chart") for box in boxes] == CHARTS
    for box in boxes:
        marks = box.find_elements(By.CSS_SELECTOR, "svg .role-mark path, svg .role-mark line")
        assert len(marks) >= 4 and box.size["height"] > 100
        assert len(str(box.get_attribute("aria-label"))) > 15
    requests = _requests(chromium)
    assert requests[0] == pages("better", "en").as_uri()
    assert {address.partition(":")[0] for address in requests} <= {"file", "data", "blob"}
    assert _console(chromium) == []


def test_policy_of_the_page_stops_requests_and_foreign_scripts(chromium, pages):
    open_file(chromium, pages("better", "en"))
    _charts(chromium)
    refused = chromium.execute_async_script(
        "const done = arguments[0];"
        "window.ran = false;"
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script);"
        "fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done(String(window.ran)));"
    )
    assert refused == "false"
    assert sum("Content Security Policy" in message for message in _console(chromium)) >= 2
    assert not [address for address in _requests(chromium) if address.startswith("http")]


@pytest.mark.parametrize(
    ("language", "chart", "expected"),
    [
        ("en", "sweep", {"Configuration": "config_6", "Role": "best", "Load": "concurrency 32"}),
        ("ko", "sweep", {"설정": "config_6", "구분": "최적 설정", "부하": "concurrency 32"}),
    ],
)
def test_tooltip_gives_the_figures_with_their_intervals(chromium, pages, language, chart, expected):
    shown_as(chromium)
    open_file(chromium, pages("better", language))
    _charts(chromium)
    best = evidence_record().confirmation.best
    assert best is not None
    # Roles come last, the best of them before the default: by its throughput.
    points = chromium.find_elements(By.CSS_SELECTOR, f'[data-chart="{chart}"] path[aria-roledescription="point"]')
    mark = next(point for point in points if "config_6" in str(point.get_attribute("aria-label")))
    said = _hover(chromium, mark)
    assert expected.items() <= said.items()
    throughput = said["Throughput" if language == "en" else "처리량"]
    assert throughput.startswith(f"{best.throughput_infer_per_s.estimate:,.0f} infer/s (")
    assert bool(HANGUL.search("".join(said))) == (language == "ko")


def test_tooltip_of_a_stage_says_what_it_takes(chromium, pages):
    shown_as(chromium)
    open_file(chromium, pages("better", "en"))
    _charts(chromium)
    bars = chromium.find_elements(By.CSS_SELECTOR, '[data-chart="breakdown"] path[aria-roledescription="bar"]')
    assert len(bars) == 12
    said = _hover(chromium, bars[0])
    assert said["Stage"] == "Queue" and said["Mean per request"].endswith(" ms") and said["Share"].endswith("%")


@pytest.mark.parametrize(("run", "language"), PAGES)
def test_page_fits_a_phone(chromium, pages, run, language):
    shown_as(chromium, size=PHONE)
    open_file(chromium, pages(run, language))
    boxes = _charts(chromium)
    chromium.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    WebDriverWait(chromium, PATIENCE_S).until(lambda _: all(_svg_width(box) <= box.size["width"] for box in boxes))
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    assert chromium.execute_script(_LETTERS_OUTSIDE, PHONE[0]) == []
    assert _console(chromium) == []


# Texts that stick out of the page, other than those in boxes that scroll by themselves.
_LETTERS_OUTSIDE = """
return [...document.querySelectorAll("h1, h2, p, dd, dt, li, th, td, button, figcaption")]
  .filter((each) => !each.closest(".scroll, pre") && each.getBoundingClientRect().right > arguments[0] + 1)
  .map((each) => each.textContent);
"""


def _svg_width(box: WebElement) -> int:
    svgs = box.find_elements(By.TAG_NAME, "svg")
    return svgs[0].size["width"] if svgs else 1_000_000


def _fonts(browser: Chrome, selector: str) -> dict[str, bool]:
    """The fonts of an element's text, and whether the page brought them along."""
    browser.execute_cdp_cmd("DOM.enable", {})
    browser.execute_cdp_cmd("CSS.enable", {})
    root = browser.execute_cdp_cmd("DOM.getDocument", {})["root"]["nodeId"]
    node = browser.execute_cdp_cmd("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
    fonts = browser.execute_cdp_cmd("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    return {font["familyName"]: font["isCustomFont"] for font in fonts}


def test_korean_shows_on_a_machine_without_a_korean_font(chromium_without_korean, pages):
    browser = chromium_without_korean
    shown_as(browser)
    open_file(browser, pages("better", "ko"))
    _charts(browser)
    for selector in (".sentence", ".kind", ".answers dt", '[data-chart="pair"] svg text'):
        assert ("Hcopt Gothic", True) in _fonts(browser, selector).items(), selector
    assert _console(browser) == []


def test_charts_are_laid_out_again_when_the_window_becomes_narrow(chromium, pages):
    shown_as(chromium, size=DESKTOP)
    open_file(chromium, pages("better", "en"))
    _charts(chromium)
    heights = [_chart_height(chromium, "rates")]
    shown_as(chromium, size=PHONE)
    # Two panels below one another are higher than beside one another.
    WebDriverWait(chromium, PATIENCE_S).until(lambda _: _chart_height(chromium, "rates") > 1.2 * heights[0])
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]


def _chart_height(browser: Chrome, name: str) -> int:
    return int(browser.find_element(By.CSS_SELECTOR, f'[data-chart="{name}"]').size["height"])


_COLORS = """
const drawn = document.querySelector('[data-chart="sweep"] svg');
return {
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  axis: getComputedStyle(drawn.querySelector(".role-axis-label text")).fill,
  figure: getComputedStyle(document.querySelector('[data-chart="pair"] svg .mark-text.role-mark text:last-child')).fill,
  grid: getComputedStyle(drawn.querySelector(".role-axis-grid line")).stroke,
};
"""


def _luminance(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)`.

    Source: WCAG 2.2, definition of relative luminance.
    """
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_dark_mode_is_dark_and_the_charts_follow_while_the_page_is_open(chromium, pages):
    shown_as(chromium, scheme="light")
    open_file(chromium, pages("better", "en"))
    _charts(chromium)
    light = chromium.execute_script(_COLORS)
    shown_as(chromium, scheme="dark")
    dark = chromium.execute_script(_COLORS)
    assert _luminance(light["paper"]) > 0.9 and _luminance(dark["paper"]) < 0.02
    for colors in (light, dark):
        assert min(_contrast(colors[text], colors["paper"]) for text in ("ink", "axis", "figure")) > 4.5
        assert 1.1 < _contrast(colors["grid"], colors["paper"]) < 2


# Every element with text of its own: its colour and the first background behind it.
_TEXTS = """
const behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
};
return [...document.querySelectorAll("body *")]
  .filter((each) => !each.closest("svg, script, noscript") && each.checkVisibility())
  .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
  .map((each) => [each.textContent.slice(0, 40), getComputedStyle(each).color, behind(each)]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("run", "language"), PAGES[1:5])
def test_text_has_the_contrast_that_readers_need(chromium, pages, run, language, scheme):
    shown_as(chromium, scheme=scheme)
    open_file(chromium, pages(run, language))
    texts = chromium.execute_script(_TEXTS)
    assert len(texts) > 40
    # Source: WCAG 2.2, success criterion 1.4.3 (AA).
    assert [text for text, color, behind in texts if _contrast(color, behind) < 4.5] == []


def test_markup_in_names_stays_text(chromium, tmp_path):
    hostile = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'><b>&amp;{{ 7*7 }}"
    run = _named(hostile)
    failed = tuple(replace(m, error=f"error {hostile}") if m.error else m for m in run.measurements)
    run = replace(
        run,
        measurements=failed,
        notes=(Note.of("error", message=f"note {hostile}"),),
        command=f"hcopt {hostile} \udcff",
        best_config_pbtxt=f"# {hostile}\nname: 1",
    )
    assert run.confirmation.best is not None
    variant = replace(run.confirmation.best.variant, config_name=hostile, parameters=((hostile, hostile),))
    run = replace(run, confirmation=replace(run.confirmation, best=replace(run.confirmation.best, variant=variant)))
    write_html(run, language="en", path=tmp_path / "report.html")
    shown_as(chromium)
    open_file(chromium, tmp_path / "report.html")
    _charts(chromium)
    assert chromium.execute_script("return window.ran ?? null") is None
    assert chromium.find_element(By.TAG_NAME, "h1").text == hostile
    assert chromium.title.startswith(hostile)
    body = chromium.find_element(By.TAG_NAME, "body").text
    assert f"note {hostile}" in body and f"error {hostile}" in body and f"# {hostile}" in body
    assert "?" in body.rpartition("hcopt </script>")[2]
    assert chromium.find_elements(By.CSS_SELECTOR, "main b, img[src=x]") == []
    point = chromium.find_element(By.CSS_SELECTOR, '[data-chart="pair"] path[aria-roledescription="bar"]:last-of-type')
    assert "<script>" in "".join(_hover(chromium, point).values())
    assert _console(chromium) == []


def test_golden_configuration_is_copied_as_it_is(chromium, tmp_path):
    golden = 'name: "m"\n\ninput [\n  {\n    name: "<in>"\n    dims: [ -1, 10 ]\n  }\n]\nmax_batch_size: 8\n'
    path = tmp_path / "report.html"
    write_html(run_record(best_config_pbtxt=golden), language="en", drawn={}, path=path)
    shown_as(chromium)
    open_file(chromium, path)
    chromium.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    button = chromium.find_element(By.CSS_SELECTOR, "[data-copy]")
    button.click()
    WebDriverWait(chromium, PATIENCE_S).until(lambda _: button.text == "Copied")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    assert chromium.execute_async_script(read).rstrip() == golden.rstrip()


def test_report_works_in_a_frame_without_rights_as_mlflow_shows_it(chromium, pages, tmp_path):
    report = pages("better", "en").as_uri()
    frame = f'<iframe sandbox="allow-scripts" src="{report}" width=900 height=700></iframe>'
    (tmp_path / "frame.html").write_text(frame)
    shown_as(chromium)
    open_file(chromium, tmp_path / "frame.html")
    chromium.switch_to.frame(0)
    assert len(_charts(chromium)) == len(CHARTS)
    button = chromium.find_element(By.CSS_SELECTOR, "[data-copy]")
    button.click()
    WebDriverWait(chromium, PATIENCE_S).until(lambda _: button.text in ("Copied", "Selected: press Ctrl+C"))
    selected = chromium.execute_script("return window.getSelection().toString()")
    assert button.text == "Copied" or "max_batch_size: 8" in selected
    chromium.switch_to.default_content()


def test_charts_are_pictures_where_scripts_are_off(chromium, pages):
    shown_as(chromium)
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_file(chromium, pages("better", "en"))
        pictures = chromium.find_elements(By.CSS_SELECTOR, "[data-chart] img")
        assert len(pictures) == len(CHARTS)
        assert all(picture.size["width"] > 200 and picture.get_attribute("alt") for picture in pictures)
        assert [path for path in _requests(chromium) if not path.startswith(("file:", "data:"))] == []
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_everything_is_reached_by_the_keyboard(chromium, pages):
    shown_as(chromium, size=PHONE)
    open_file(chromium, pages("better", "en"))
    _charts(chromium)
    scrolled = chromium.find_elements(By.CSS_SELECTOR, ".scroll, pre, .drawing")
    assert scrolled and all(each.get_property("tabIndex") == 0 for each in scrolled)
    levels = [int(each.tag_name[1]) for each in chromium.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    assert levels[0] == 1 and levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert chromium.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


def test_print_is_light_and_shows_what_is_folded(chromium, pages, tmp_path):
    from base64 import b64decode

    from pypdf import PdfReader

    shown_as(chromium, scheme="dark")
    open_file(chromium, pages("better", "en"))
    _charts(chromium)
    printed = chromium.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "paperWidth": 8.27})
    (tmp_path / "printed.pdf").write_bytes(b64decode(printed["data"]))
    text = " ".join(page.extract_text() for page in PdfReader(tmp_path / "printed.pdf").pages)
    assert "Intel(R) Xeon(R) Processor" in text and "Copy" not in text


# Without a browser


def _plain(page: str) -> str:
    """The text of a page without its scripts and styles."""
    bare = re.sub(r"<(script|style|noscript)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", bare)))


@pytest.mark.parametrize(("run", "language"), PAGES)
def test_page_is_in_its_language_and_of_moderate_size(pages, run, language):
    page = pages(run, language).read_text(encoding="utf-8")
    assert bool(HANGUL.search(_plain(page))) == (language == "ko")
    assert f'<html lang="{language}">' in page
    assert len(page.encode()) < 2_000_000


@pytest.mark.parametrize(
    ("run", "language", "verdict"),
    [
        ("better", "en", "Deploy config_6: throughput +32% against the default"),
        ("better", "ko", "config_6 배포 권장: 기본 설정 대비 처리량 +32%"),
        ("undecided", "en", "about 36 blocks would decide, 8 were measured"),
        ("no_feasible_config", "ko", "시도할 수 있는 방법"),
    ],
)
def test_page_says_what_the_pdf_says(pages, run, language, verdict):
    assert verdict in _plain(pages(run, language).read_text(encoding="utf-8"))


def test_page_holds_every_measurement(pages):
    text = _plain(pages("many", "en").read_text(encoding="utf-8"))
    assert all(f" config_{number} " in text for number in range(200))


def test_price_adds_the_cost(tmp_path):
    write_html(run_record(), language="en", price_per_hour=3.6, drawn={}, path=tmp_path / "report.html")
    assert "Cost per million inferences – ≤ 0.208" in _plain((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_same_run_gives_the_same_file_whoever_drew_its_charts(pages, tmp_path):
    run = evidence_record()
    write_html(run, language="ko", drawn=drawn_charts(run, language="ko"), path=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == pages("better", "ko").read_bytes()


def test_run_without_figures_has_a_page_without_charts(tmp_path):
    run = infeasible_record()
    failed = tuple(
        replace(m, throughput_infer_per_s=None, latency=None, server=None, error="no answer") for m in run.measurements
    )
    found = replace(run.confirmation, reason=Note.of("nothing_measured"))
    ranking = replace(run.ranking, ranked=(), failed_count=len(failed))
    run = replace(run, measurements=failed, ranking=ranking, confirmation=found)
    write_html(run, language="en", path=tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No configuration could be measured." in page and "data-chart=" not in page.partition("<script")[0]


def test_page_that_cannot_be_written_is_an_output_error_and_keeps_the_older_one(tmp_path, monkeypatch):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputError, match=r"cannot write the report .*folder\.html"):
        write_html(run_record(), language="en", drawn={}, path=tmp_path / "folder.html")
    older = tmp_path / "report.html"
    older.write_bytes(b"older")

    def no_drawing(*arguments: Any) -> str:
        raise ValueError("no font")

    monkeypatch.setattr("hcopt.report.pictures.to_svg", no_drawing)
    with pytest.raises(OutputError, match=r"cannot draw the charts of run .*: no font"):
        write_html(run_record(), language="en", path=older)
    assert older.read_bytes() == b"older"


def test_code_that_draws_is_that_of_the_installed_package():
    from scripts.bundle_vega import TARGET, bundle

    assert TARGET.read_text(encoding="utf-8") == bundle(), "run scripts/bundle_vega.py and look at the report"


def test_model_name_of_the_records_is_in_the_title(pages):
    assert f"<title>{MODEL_NAME}: " in pages("better", "en").read_text(encoding="utf-8")
