"""Vega-Lite to SVG and SVG to PNG, by vl-convert. It imports little, since it mostly runs in a process of its own.

SVG takes V8, whose start costs as much as ten charts; PNG is made of what was drawn already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any

from hcopt.records.json import JsonObject

# Only where Vega names or uses one: a text of the user's never follows these signs.
_GRADIENT = re.compile(r'(?:(?<=\bid=")|(?<=\burl\(#))gradient_\d+')
_SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"')
_MARGIN = 7


def to_svg(spec: JsonObject, config: Mapping[str, Any]) -> str:
    """Draws the Vega-Lite specification of a chart; its text stays text, in the font of the report.

    Args:
        spec: Without a theme.
        config: The theme.

    Raises:
        ValueError: The chart cannot be drawn.
    """
    import vl_convert

    with _fonts():
        svg: str = vl_convert.vegalite_to_svg(spec, config=dict(config))
    return _numbered_from_zero(svg)


def to_svgs(specs: Mapping[str, JsonObject], config: Mapping[str, Any]) -> dict[str, str]:
    """The same for several charts, by their names."""
    return {name: to_svg(spec, config) for name, spec in specs.items()}


def to_pngs(svgs: Mapping[str, str], scale: float) -> dict[str, bytes]:
    """Pictures of drawn charts on white, with a margin.

    Args:
        svgs: As `to_svg` makes them.
        scale: Pixels of a picture in one of the drawing.

    Raises:
        ValueError: A chart cannot be drawn.
    """
    import vl_convert

    with _fonts():
        return {name: vl_convert.svg_to_png(_on_white(svg), scale=scale) for name, svg in svgs.items()}


@contextmanager
def _fonts() -> Iterator[None]:
    import vl_convert

    with as_file(files("hcopt.report") / "fonts") as folder:
        vl_convert.register_font_directory(str(folder))
        yield


def _on_white(svg: str) -> str:
    found = _SIZE.match(svg)
    if found is None:
        raise ValueError("the drawing does not say how large it is")
    width, height = (float(size) + 2 * _MARGIN for size in found.groups())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}">'
        f'<rect width="100%" height="100%" fill="white"/><g transform="translate({_MARGIN},{_MARGIN})">{svg}</g></svg>'
    )


def _numbered_from_zero(svg: str) -> str:
    """The same drawing whatever was drawn before: Vega numbers gradients over the whole process."""
    numbers = list(dict.fromkeys(_GRADIENT.findall(svg)))
    return _GRADIENT.sub(lambda match: f"gradient_{numbers.index(match[0])}", svg)
