"""perf_analyzer's CSV reports, as Model Analyzer keeps them, read as measurements."""

from __future__ import annotations

import csv
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement, ServerTimes
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import is_usable
from hcopt.system.files import copy_whole

REPORT_FOLDER = "model_analyzer"
_FIGURES = ("Inferences/Second", *(f"{what} latency" for what in ("Avg", "p50", "p90", "p95", "p99")))


def read_report(path: Path) -> Mapping[str, str] | None:
    """The one row of perf_analyzer's CSV report, or None where it is cut or holds no usable figures."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        try:
            row = next(csv.DictReader(file), {})
            usable = is_usable(*(float(row[column]) for column in _FIGURES))
        except (KeyError, TypeError, ValueError, csv.Error):  # csv.Error: a NUL byte, until Python 3.11
            return None
    return row if usable else None


def measured_point(
    variant: ModelConfigVariant, load: LoadPoint, started_at: str, row: Mapping[str, str], steal: float | None
) -> Measurement:
    """One row, whose latencies are µs."""
    return Measurement(
        phase="sweep",
        profiler="model-analyzer",
        variant=variant,
        load=load,
        started_at=started_at,
        throughput_infer_per_s=float(row["Inferences/Second"]),
        latency=LatencySummary(
            avg_ms=float(row["Avg latency"]) / 1000,
            p50_ms=_milliseconds(row, "p50 latency"),
            p90_ms=_milliseconds(row, "p90 latency"),
            p95_ms=_milliseconds(row, "p95 latency"),
            p99_ms=float(row["p99 latency"]) / 1000,
        ),
        server=_server_times(row),
        steal_ratio=steal,
    )


def _milliseconds(row: Mapping[str, str], column: str) -> float:
    return float(row[column]) / 1000


def _server_times(row: Mapping[str, str]) -> ServerTimes | None:
    columns = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")
    try:
        queue, compute_input, infer, output = (float(row[column]) for column in columns)
    except (KeyError, TypeError, ValueError):
        return None
    if not all(math.isfinite(value) for value in (queue, compute_input, infer, output)):
        return None
    return ServerTimes(queue_us=queue, compute_input_us=compute_input, compute_infer_us=infer, compute_output_us=output)


def keep_report(export: Path, into: Path) -> None:
    """Model Analyzer's own summary (HTML, and PDF where wkhtmltopdf is installed) and its CSV."""
    files = [path for pattern in ("reports/summaries/*/*", "results/*.csv") for path in export.glob(pattern)]
    if not files:
        return
    into.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(into, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as temporary:
        draft = Path(temporary) / into.name
        draft.mkdir()
        for path in filter(Path.is_file, files):
            copy_whole(path, draft / path.name)
        draft.rename(into)
