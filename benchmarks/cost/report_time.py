"""Time and memory of the report of a finished run, PDF and HTML, from the start of Python.

`many_variants` makes a run of 210 variants.

Usage: .venv/bin/python benchmarks/cost/report_time.py RUN [FOLDER]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.monotonic()

from hcopt.report.pages.content import build  # noqa: E402
from hcopt.report.render.drawings import drawn_charts  # noqa: E402
from hcopt.report.render.html import write_html  # noqa: E402
from hcopt.report.render.pdf import write_pdf  # noqa: E402
from hcopt.store.run_folder import find_run, read_record  # noqa: E402


def main(reference: str, folder: Path) -> None:
    run = read_record(find_run(reference, results=Path("results")))
    loaded = time.monotonic()
    drawn = drawn_charts(run, language="ko")
    charted = time.monotonic()
    content = build(run, language="ko")
    write_pdf(content, drawn, folder / "result_summary.pdf")
    printed = time.monotonic()
    write_html(content, drawn, folder / "result_summary.html")
    ended = time.monotonic()
    for part, seconds in (
        ("start, reading the run", loaded - STARTED),
        (f"{len(drawn)} charts", charted - loaded),
        ("PDF", printed - charted),
        ("HTML", ended - printed),
        ("all", ended - STARTED),
    ):
        print(f"{part:22} {seconds:5.2f} s")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{'CPU time':22} {usage.ru_utime + usage.ru_stime:5.2f} s")
    print(f"{'highest memory':22} {usage.ru_maxrss / 1024:5.0f} MB")
    for name in ("result_summary.pdf", "result_summary.html"):
        print(f"{name:22} {(folder / name).stat().st_size / 1e6:5.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(sys.argv[1], Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(sys.argv[1], Path(made))
