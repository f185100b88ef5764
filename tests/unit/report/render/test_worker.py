"""Parts of a report made in a process of their own: the same as here, and a failure is told plainly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hcopt.errors import OutputError
from hcopt.report.pictures import to_pngs, to_svgs
from hcopt.report.render import worker
from hcopt.report.render.drawings import drawn_charts
from hcopt.report.render.worker import run_in_worker
from tests.support.records import run_record
from tests.support.reports import write_pdf

PNG = b"\x89PNG\r\n"


def test_charts_and_pages_are_the_same_as_those_made_here(tmp_path: Path) -> None:
    run = run_record()
    here, there = drawn_charts(run, language="en"), drawn_charts(run, language="en", in_worker=True)
    assert there == here
    write_pdf(run, language="en", drawn=here, path=tmp_path / "here.pdf")
    write_pdf(run, language="en", drawn=here, path=tmp_path / "there.pdf", in_worker=True)
    assert (tmp_path / "there.pdf").read_bytes() == (tmp_path / "here.pdf").read_bytes()


def test_pictures_have_their_names() -> None:
    svgs = {name: drawing.svg for name, drawing in drawn_charts(run_record(), language="ko").items()}
    first = dict([next(iter(svgs.items()))])
    found = run_in_worker("png", to_pngs, first, 1.0)
    assert list(found) == list(first)
    assert all(image.startswith(PNG) for image in found.values())


def test_what_cannot_be_drawn_is_an_error_of_the_output_in_its_own_words() -> None:
    with pytest.raises(OutputError, match=r"a part of the report \(svg\): Vega-Lite to SVG conversion failed"):
        run_in_worker("svg", to_svgs, {"bad": {"mark": "no such mark"}}, {})


def test_crash_of_the_other_process_is_an_error_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(OutputError, match=r"cannot make a part of the report \(pdf\): ended with 1"):
        run_in_worker("pdf", time.sleep, 0)


def test_other_process_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_MAX_S", 0.5)
    with pytest.raises(OutputError, match=r"cannot make a part of the report \(pdf\): did not end within 0.5 s"):
        run_in_worker("pdf", time.sleep, 1000)


def test_temporary_files_that_cannot_be_written_are_an_error_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match="among the temporary files: No such file") as raised:
        run_in_worker("pdf", time.sleep, 0)
    assert "TMPDIR" in str(raised.value.remedy)
