"""The chart of a simulated autoscaler: every format, no miss lost, and files that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hcopt.cli.show.simulation import simulation_chart, write_chart
from hcopt.deploy.hpa import Autoscaler
from hcopt.deploy.simulation import Moment, Simulation
from hcopt.errors import ConfigError, OutputError


def simulation(seconds: int, worst_at: int) -> Simulation:
    moments = tuple(
        Moment(
            time_s=float(at),
            load_infer_per_s=100.0,
            replicas=2,
            ready=2,
            miss_ratio=0.5 if at == worst_at else 0.0,
        )
        for at in range(seconds)
    )
    return Simulation(
        autoscaler=Autoscaler(targets=(1.0,), min_replicas=1, max_replicas=2),
        moments=moments,
        miss_ratio=0.5 / seconds,
        worst_minute_miss_ratio=0.5 / 60,
        pod_hours=1.0,
        needed_pod_hours=1.0,
    )


@pytest.mark.parametrize(("suffix", "begins"), [(".svg", b"<svg"), (".png", b"\x89PNG"), (".html", b"<!DOCTYPE html>")])
def test_chart_is_written_in_each_format(tmp_path: Path, suffix: str, begins: bytes) -> None:
    path = tmp_path / f"chart{suffix}"
    write_chart(simulation_chart(simulation(120, 60), capacity_infer_per_s=60.0), path)
    assert path.read_bytes().lstrip().startswith(begins)


def test_html_needs_no_network(tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    write_chart(simulation_chart(simulation(120, 60), capacity_infer_per_s=60.0), path)
    assert 'src="http' not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("worst_at", [0, 4999, 7001, 9999])
def test_no_miss_is_lost_between_two_drawn_moments(worst_at: int) -> None:
    chart = simulation_chart(simulation(10_000, worst_at), capacity_infer_per_s=60.0).to_dict()
    rows = _rows_with(chart, "minutes")
    assert len(rows) <= 1200
    assert max(row["share"] for row in rows) == 0.5


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written as \.pdf"):
        write_chart(simulation_chart(simulation(60, 1), capacity_infer_per_s=60.0), tmp_path / "chart.pdf")


def test_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the chart"):
        write_chart(simulation_chart(simulation(60, 1), capacity_infer_per_s=60.0), tmp_path / "file" / "chart.svg")


def _rows_with(part: Any, field: str) -> list[dict[str, Any]]:
    """The first rows in a chart's definition that have a field."""
    if isinstance(part, list) and part and isinstance(part[0], dict) and field in part[0]:
        return part
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return next((rows for rows in (_rows_with(one, field) for one in inner) if rows), [])
