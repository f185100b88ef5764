"""Time and memory of a report on a run of 200 variants, PDF and HTML, from the start of Python.

Usage: .venv/bin/python benchmarks/report_time.py [FOLDER]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.monotonic()
sys.path.insert(0, str(Path(__file__).parents[1]))

from hcopt.report.render.drawings import drawings  # noqa: E402
from hcopt.report.render.html import write_html  # noqa: E402
from hcopt.report.render.pdf import write_pdf  # noqa: E402
from tests.support.evidence_records import many_variants_record  # noqa: E402


def main(folder: Path) -> None:
    run = many_variants_record()
    loaded = time.monotonic()
    drawn = drawings(run, language="ko")
    charted = time.monotonic()
    write_pdf(run, language="ko", drawn=drawn, path=folder / "result_summary.pdf")
    printed = time.monotonic()
    write_html(run, language="ko", drawn=drawn, path=folder / "result_summary.html")
    ended = time.monotonic()
    for part, seconds in (
        ("start, made-up run", loaded - STARTED),
        (f"{len(drawn)} charts", charted - loaded),
        ("PDF", printed - charted),
        ("HTML", ended - printed),
        ("all", ended - STARTED),
    ):
        print(f"{part:20} {seconds:5.2f} s")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{'CPU time':20} {usage.ru_utime + usage.ru_stime:5.2f} s")
    print(f"{'highest memory':20} {usage.ru_maxrss / 1024:5.0f} MB")
    for name in ("result_summary.pdf", "result_summary.html"):
        print(f"{name:20} {(folder / name).stat().st_size / 1e6:5.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
