"""The font that a page brings along."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from hcopt.report.render.web_font import with_web_font
from tests.support.evidence_records import evidence_record
from tests.support.reports import write_html

FACE = re.compile(r"@font-face {.*?font-weight: (\d+).*?base64,([\w+/=]+)", re.DOTALL)
KOREAN = re.compile("[\u1100-\u11ff\u3000-\u301f\u3130-\u318f\uac00-\ud7a3]")


def fonts(page: str) -> dict[str, TTFont]:
    return {weight: TTFont(BytesIO(base64.b64decode(font))) for weight, font in FACE.findall(page)}


def characters(font: TTFont) -> set[str]:
    return set(map(chr, font.getBestCmap()))


def page_of(text: str) -> str:
    return f"<style>body {{}}</style><p>{text}</p>"


def test_font_has_just_the_characters_of_the_page_in_both_weights() -> None:
    found = fonts(with_web_font(page_of("가나 ABC – 다")))
    assert list(found) == ["400", "700"]
    for font in found.values():
        assert characters(font) == set("가나다")
        assert font.flavor == "woff2"


def test_characters_that_json_escapes_count_and_those_of_code_do_not() -> None:
    data = f"<script type='application/json'>{json.dumps('값')}</script><script>/[\\uac00-\\ud7a3힣]/</script>"
    (font, _) = fonts(with_web_font(page_of(data))).values()
    assert characters(font) == {"값"}


@pytest.mark.parametrize("text", ["p99 – 95 % × 2 µs", "\\uac", "日本"])
def test_page_without_korean_stays_as_it_is(text: str) -> None:
    assert with_web_font(page_of(text)) == page_of(text)


def test_character_that_the_font_lacks_is_the_systems() -> None:
    (font, _) = fonts(with_web_font(page_of("가 日"))).values()
    assert characters(font) == {"가"}


def test_reports_font_has_all_korean_of_the_report_and_is_small(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_html(evidence_record(), language="ko", path=path)
    page = path.read_text(encoding="utf-8")
    shown = re.sub("<script>.*?</script>", "", page, flags=re.DOTALL)
    shown += "".join(chr(int(code, 16)) for code in re.findall(r"\\u([0-9a-f]{4})", shown))
    for font in fonts(page).values():
        assert set(KOREAN.findall(shown)) <= characters(font)
    assert "font-src data:" in page
    embedded = sum(len(font) for _, font in FACE.findall(page))
    assert 10_000 < embedded < 150_000
