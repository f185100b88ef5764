"""Load traces: read, refused with the line, and interpolated."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.deploy.load_trace import LoadTrace, read_trace
from hcopt.errors import ConfigError


def test_trace_is_read_and_joined_by_straight_lines(tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_text("t_s,infer_per_s,note\n100,10,a\n110,30,b\n120,30,\n", encoding="utf-8")
    trace = read_trace(file)
    assert trace.duration_s == 20
    assert [trace.rate_at(at) for at in (-1, 0, 5, 10, 15, 20, 99)] == [10, 10, 20, 30, 30, 30, 30]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no columns"),
        ("time,load\n0,1\n", "no columns"),
        ("t_s,infer_per_s\n", "two points"),
        ("t_s,infer_per_s\n0,1\n", "two points"),
        ("t_s,infer_per_s\n0,1\n0,2\n", "ascending"),
        ("t_s,infer_per_s\n0,1\n1,fast\n", "line 3"),
        ("t_s,infer_per_s\n0,1\n1\n", "line 3"),
        ("t_s,infer_per_s\n0,-1\n1,1\n", "line 2"),
        ("t_s,infer_per_s\n0,nan\n1,1\n", "line 2"),
        ("t_s,infer_per_s\n0,inf\n1,1\n", "line 2"),
    ],
)
def test_file_that_is_no_trace_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "load.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as refused:
        read_trace(file)
    assert "t_s,infer_per_s" in (refused.value.remedy or "")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the trace"):
        read_trace(tmp_path / "none.csv")


def test_trace_checks_itself() -> None:
    with pytest.raises(ValueError, match="two points"):
        LoadTrace(times_s=(0.0,), rates_infer_per_s=(1.0,))
    with pytest.raises(ValueError, match="not negative"):
        LoadTrace(times_s=(0.0, 1.0), rates_infer_per_s=(1.0, -1.0))
