"""What stands in for perf_analyzer at a point that was measured before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hcopt.measure.model_analyzer.recorded_answers import Answers
from hcopt.measure.model_analyzer.report import read_report
from hcopt.records.measurement import Measurement
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants, measurement

MEASURED = measurement(default_variant(), HEAVY, (1234.5, 6.25))
FAILED = measurement(default_variant(), LIGHT, None)


def ask(answers: Answers, report: Path) -> subprocess.CompletedProcess[str]:
    script = f'report=$1\n{answers.shell(str(answers.folder))}echo measures >"$report"'
    return subprocess.run(["sh", "-c", script, "sh", str(report)], capture_output=True, text=True, check=False)


def test_measured_point_is_answered_with_its_figures_and_only_once(tmp_path: Path) -> None:
    answers, report = Answers(tmp_path / "an swers", (MEASURED, FAILED)), tmp_path / "report.csv"
    capture = tmp_path / "capture.csv"
    report.write_text("of a perf_analyzer that was killed")
    capture.hardlink_to(report)
    assert answers.give(default_variant(), HEAVY)
    assert ask(answers, report).returncode == 0
    row = read_report(report)
    assert row is not None
    assert (row["Concurrency"], row["Inferences/Second"], float(row["p99 latency"])) == ("32", "1234.5", 6250.0)
    assert capture.read_text() == "of a perf_analyzer that was killed"
    assert list(answers.folder.iterdir()) == []


def test_failed_point_fails_again_and_a_missing_one_is_measured(tmp_path: Path) -> None:
    answers, report = Answers(tmp_path / "answers", (MEASURED, FAILED)), tmp_path / "report.csv"
    assert answers.give(default_variant(), LIGHT)
    assert ask(answers, report).returncode == 99
    assert not answers.give(grid_variants()[0], HEAVY)
    assert ask(answers, report).returncode == 0
    assert report.read_text() == "measures\n"


@pytest.mark.parametrize("known", [(), (MEASURED,)], ids=["a new sweep", "one that is gone on with"])
def test_what_the_plan_leaves_out_fails_at_once_and_all_else_is_measured(
    known: tuple[Measurement, ...], tmp_path: Path
) -> None:
    answers, report = Answers(tmp_path / "answers", known, has_gaps=True), tmp_path / "report.csv"
    assert not answers.give(None, HEAVY)
    assert ask(answers, report).returncode == 99
    assert not answers.give(grid_variants()[0], HEAVY)
    assert ask(answers, report).returncode == 0


def test_new_sweep_asks_nobody(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers", ())
    assert (answers.shell("/x"), answers.give(default_variant(), HEAVY), answers.folder.exists()) == ("", False, False)
