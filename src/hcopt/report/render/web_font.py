"""The report's Korean font inside of an HTML page: the characters of that page alone, for machines that have none."""

from __future__ import annotations

import base64
import re
from importlib.resources import files
from io import BytesIO

from hcopt.report.charts.drawing import FONT

_WEIGHTS = {"Regular": 400, "Bold": 700}
# What the font has of it; Latin and signs are those of the system.
_KOREAN = re.compile("[\u3000-\u301f\u3131-\u318e\uac00-\ud7a3]")
_KOREAN_RANGE = "U+3000-301F, U+3131-318E, U+AC00-D7A3"
# Code shows nothing of what stands in it.
_CODE = re.compile("<script>.*?</script>", re.DOTALL)
# JSON inside of a page has no other form of them.
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def with_web_font(page: str) -> str:
    """The page with the font in its first style sheet; as it is where it has no Korean.

    Args:
        page: HTML that may use `FONT`, and whose policy allows fonts from data URIs.
    """
    shown = _CODE.sub("", page)
    used = {*shown, *(chr(int(code, 16)) for code in _ESCAPED.findall(shown))}
    korean = "".join(sorted(filter(_KOREAN.match, used)))
    if not korean:
        return page
    faces = "".join(_face(style, weight, korean) for style, weight in _WEIGHTS.items())
    return page.replace("</style>", f"{faces}</style>", 1)


def _face(style: str, weight: int, characters: str) -> str:
    font = base64.b64encode(_subset(style, characters)).decode()
    source = f'url("data:font/woff2;base64,{font}") format("woff2")'
    named = f'font-family: "{FONT}"; font-weight: {weight}; unicode-range: {_KOREAN_RANGE}'
    return f"@font-face {{ {named}; src: {source}; }}\n"


def _subset(style: str, characters: str) -> bytes:
    """The font as WOFF2 with those of the characters that it has."""
    from fontTools import subset

    options = subset.Options(flavor="woff2", layout_features=[], name_IDs=[0, 1, 2, 4, 6, 13, 14])
    file = files("hcopt.report") / "fonts" / f"HcoptGothic-{style}.ttf"
    with subset.load_font(BytesIO(file.read_bytes()), options) as font:
        wanted = subset.Subsetter(options)
        wanted.populate(text=characters)
        wanted.subset(font)
        written = BytesIO()
        subset.save_font(font, written, options)
    return written.getvalue()
