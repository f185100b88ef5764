"""What stands in for a server and perf_analyzer before Model Analyzer: a replay's answers as perf_analyzer's reports.

Model Analyzer may ask for points that were not recorded (quick mode goes through all instance counts, and both quick
and optuna derive concurrencies from a formula). The nearest recorded point answers for them, by the logarithms of their
values, and is what such a proposal counts as.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks.recordings.replay import Replay
from hcopt.analysis.ranking import pooled
from hcopt.model.triton_config import variant_of
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant

# hcopt lets Model Analyzer's perf_analyzer measure three windows of a second.
WINDOW_S = 3.0
# It sleeps through 1.2 times each window, and starts in 0.1 s.
PROCESS_S = 3.7
# Drift changes while a long sweep goes on: the windows of so many seconds share a recorded block.
DRIFT_S = 30.0


@dataclass(frozen=True)
class Visit:
    """A recorded point that answered; `exact` is False where it stood for one beside the grid."""

    variant: ModelConfigVariant
    load: LoadPoint
    exact: bool


class Grid:
    """The recorded points, and which of them is nearest to one that was asked for."""

    def __init__(self, plan: SweepPlan) -> None:
        self._variants = {settings: group[0] for settings, group in pooled(plan).items()}
        self._loads = plan.loads

    def variant(self, wanted: ModelConfigVariant) -> ModelConfigVariant:
        exact = self._variants.get(wanted.settings)
        return exact or min(self._variants.values(), key=lambda known: _distance(known, wanted))

    def load(self, client_batch_size: int, concurrency: int) -> LoadPoint:
        def distance(load: LoadPoint) -> float:
            rows = abs(math.log(load.client_batch_size / client_batch_size))
            return rows + abs(math.log(load.concurrency / concurrency))

        return min(self._loads, key=distance)


def _distance(known: ModelConfigVariant, wanted: ModelConfigVariant) -> tuple[int, float]:
    """First what has no order: parameters, preferred sizes, whether requests are put together at all."""
    mismatches = len(set(known.parameters) ^ set(wanted.parameters))
    mismatches += known.dynamic_batching != wanted.dynamic_batching
    mismatches += known.preferred_batch_sizes != wanted.preferred_batch_sizes
    pairs = (
        (known.max_batch_size, wanted.max_batch_size),
        (known.instance_count, wanted.instance_count),
        (known.max_queue_delay_us, wanted.max_queue_delay_us),
    )
    return mismatches, sum(abs(math.log1p(a) - math.log1p(b)) for a, b in pairs)


class StandIn:
    """Answers one run of Model Analyzer; `visits` and `measurements` are what it asked for, in order.

    Args:
        plan: What was recorded.
        replay: Answers, and counts the seconds of load.
        limit_ms: The recording's limit. Model Analyzer's are whole milliseconds, so latencies are stretched to make it
            one (`whole_limit_ms`): else its winner would be held to a stricter limit than ours.
    """

    def __init__(self, plan: SweepPlan, replay: Replay, *, limit_ms: float | None) -> None:
        self._grid = Grid(plan)
        self._replay = replay
        self.whole_limit_ms = None if limit_ms is None else math.ceil(limit_ms)
        self._stretch = 1.0 if limit_ms is None else math.ceil(limit_ms) / limit_ms
        self._loaded: ModelConfigVariant | None = None
        self.loads = 0
        self.visits: list[Visit] = []
        self.measurements: list[Measurement] = []

    def load(self, config: str) -> None:
        """The server's load request with a configuration, as JSON."""
        self._loaded = variant_of(json_format.Parse(config, ModelConfig()), "asked")
        self.loads += 1

    def nearest(self, wanted: ModelConfigVariant, client_batch_size: int, concurrency: int) -> Visit:
        variant, load = self._grid.variant(wanted), self._grid.load(client_batch_size, concurrency)
        exact = (variant.settings, load.client_batch_size, load.concurrency) == (
            wanted.settings,
            client_batch_size,
            concurrency,
        )
        return Visit(variant, load, exact)

    def report(self, client_batch_size: int, concurrency: int) -> str:
        """perf_analyzer's report on the loaded model at a load."""
        assert self._loaded is not None
        visit = self.nearest(self._loaded, client_batch_size, concurrency)
        measured = self._replay.measure(visit.variant, visit.load, WINDOW_S, int(self._replay.load_s // DRIFT_S))
        self.visits.append(visit)
        self.measurements.append(measured)
        return _report(measured, concurrency, self._stretch)


def _report(measured: Measurement, concurrency: int, stretch: float) -> str:
    """Columns and units (µs) of perf_analyzer 2.51; those of the server's and the client's own shares are left out."""
    latency = measured.latency
    assert latency is not None
    columns = {
        "p50 latency": latency.p50_ms,
        "p90 latency": latency.p90_ms,
        "p95 latency": latency.p95_ms,
        "p99 latency": latency.p99_ms,
        "Avg latency": latency.avg_ms,
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Concurrency", "Inferences/Second", *columns])
    figures = [f"{(ms or 0.0) * 1000 * stretch:.0f}" for ms in columns.values()]
    writer.writerow([concurrency, f"{measured.throughput_infer_per_s:.3f}", *figures])
    return text.getvalue()
