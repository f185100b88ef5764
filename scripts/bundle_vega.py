"""Writes the JavaScript that draws the HTML report's charts: Vega, Vega-Lite and Vega-Embed, from vl-convert's wheel.

It is kept in the repository because making it takes three seconds of CPU time, longer than a whole report.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

TARGET = Path(__file__).parents[1] / "src" / "hcopt" / "report" / "vega" / "vega-embed.js"


def bundle() -> str:
    """One classic script that sets `vegaEmbed`; all other names stay its own."""
    return "(() => {" + vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;") + "})();\n"


if __name__ == "__main__":
    TARGET.write_text(bundle(), encoding="utf-8")
    print(f"wrote {TARGET}, {TARGET.stat().st_size:,} bytes")
