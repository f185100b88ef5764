"""The lists after the first page: measurements, failures, environment. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from hcopt.analysis.plan import thread_count
from hcopt.analysis.view import SweepPoint, batches, sweep_points
from hcopt.records.measurement import Environment, LoadPoint, Measurement
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.facts.names import load_value, one_line, other_parameters, short_name, swept_threads
from hcopt.report.values import Failure, MeasurementRow
from hcopt.system.cpu_list import format_cpu_list, parse_cpu_list
from hcopt.words import Text

# One window, or the mean of all at a point.
_Point: TypeAlias = Measurement | SweepPoint


def measurement_rows(run: RunRecord, text: Text) -> tuple[MeasurementRow, ...]:
    """The sweep's measurements by rank, then by load; configurations without a rank last.

    A search measures a point many times: its windows are one row, and failed ones stand among the failures alone.
    """
    ranks: dict[Hashable, tuple[int, LoadPoint]] = {
        entry.variant.settings: (rank, entry.load) for rank, entry in enumerate(run.ranking.ranked, start=1)
    }
    last = len(ranks) + 1

    def place(point: _Point) -> tuple[int, str, int, int]:
        rank = ranks[point.variant.settings][0] if point.variant.settings in ranks else last
        return (rank, point.variant.config_name, point.load.concurrency, point.load.client_batch_size)

    shown = sweep_points(run) if run.decisions else [m for m in run.measurements if m.phase == "sweep"]
    return tuple(_measurement_row(m, ranks.get(m.variant.settings), run, text) for m in sorted(shown, key=place))


def _measurement_row(m: _Point, ranked: tuple[int, LoadPoint] | None, run: RunRecord, text: Text) -> MeasurementRow:
    limit_ms, throughput = run.ranking.latency_p99_limit_ms, m.throughput_infer_per_s
    p99 = _latency_p99_ms(m)
    feasible = "" if p99 is None or limit_ms is None else text["yes" if p99 <= limit_ms else "no"]
    return MeasurementRow(
        rank="" if ranked is None else str(ranked[0]),
        name=short_name(m.variant.config_name, run),
        batch=str(m.variant.max_batch_size),
        instances=str(m.variant.instance_count),
        delay=f"{m.variant.max_queue_delay_us:,}" if batches(m.variant) else text["off"],
        model_file=m.variant.model_file,
        threads=swept_threads(m.variant),
        parameters=other_parameters(m.variant),
        load=load_value(m.load, text),
        throughput=text["failed"] if throughput is None else figures.throughput(throughput),
        latency="" if p99 is None else figures.latency(p99),
        feasible=feasible,
        ranked=ranked is not None and ranked[1] == m.load,
    )


def _latency_p99_ms(m: _Point) -> float | None:
    if isinstance(m, SweepPoint):
        return m.latency_p99_ms
    return None if m.latency is None else m.latency.p99_ms


def failures(run: RunRecord, text: Text) -> tuple[Failure, ...]:
    """Measurements without figures, each with its reason."""
    return tuple(
        Failure(name=short_name(m.variant.config_name, run), load=load_value(m.load, text), reason=one_line(m.error))
        for m in run.measurements
        if m.error is not None
    )


def environment(run: RunRecord, text: Text) -> tuple[tuple[str, str], ...]:
    """Model, versions and machine as (label, value) pairs."""
    env, unknown = run.environment, text["unknown"]
    cpu = text["fact_cpu_value"].format(model=env.cpu_model, count=env.cpu_count, cpuset=env.cpuset)
    elapsed = " · ".join(
        f"{text.get(f'phase_{phase}', phase)} {duration(seconds, text)}" for phase, seconds in run.elapsed_s.items()
    )
    return (
        (text["fact_model"], f"{run.model.name} (sha256 {run.model.sha256[:12]})"),
        (text["fact_source"], run.model.source_uri),
        (text["fact_version"], run.model.version or unknown),
        *_nodes(run, text),
        (text["fact_runtime"], env.runtime),
        (text["fact_backend"], str(env.backend)),
        (text["fact_triton"], env.triton_version),
        *(() if env.server_settings is None else ((text["fact_server_settings"], env.server_settings),)),
        (text["fact_onnxruntime"], env.onnxruntime_version or unknown),
        (text["fact_perf_analyzer"], env.perf_analyzer_version or unknown),
        (text["fact_cpu"], cpu),
        *_placement(env, text),
        (text["fact_threads"], _default_threads(run, text)),
        (text["fact_governor"], env.governor or unknown),
        (text["fact_memory"], text["fact_memory_value"].format(value=f"{env.memory_mb:,}")),
        (text["fact_hcopt"], env.hcopt_version),
        (text["fact_elapsed"], elapsed or unknown),
    )


def _placement(env: Environment, text: Text) -> tuple[tuple[str, str], ...]:
    """Where server and load generator ran; a server elsewhere is nobody's neighbour, and older runs do not say it."""
    if env.client_cpuset is None or env.runtime == "remote":
        return ()
    try:
        shared = format_cpu_list(parse_cpu_list(env.cpuset) & parse_cpu_list(env.client_cpuset))
    except ValueError:
        # A run may come from anybody.
        return ()
    parts = [
        text["fact_placement_shared"].format(cpus=shared)
        if shared
        else text["fact_placement_apart"].format(server=env.cpuset, client=env.client_cpuset),
        text["fact_no_siblings" if env.smt_siblings is None else "fact_siblings"].format(cpus=env.smt_siblings),
        text["fact_numa"].format(nodes=env.numa_nodes or text["unknown"]),
        text["fact_no_quota" if env.cpu_quota is None else "fact_quota"].format(quota=env.cpu_quota),
    ]
    return ((text["fact_placement"], " · ".join(parts)),)


def _default_threads(run: RunRecord, text: Text) -> str:
    """Threads of an instance of the default, and who has chosen them."""
    own, chosen = thread_count(run.plan.default), run.environment.onnxruntime_thread_count
    if own is not None:
        return text["fact_threads_own"].format(count=own)
    return text["fact_threads_unknown"] if chosen is None else text["fact_threads_left"].format(count=chosen)


def _nodes(run: RunRecord, text: Text) -> tuple[tuple[str, str], ...]:
    """That what follows is a kind of node, where a cluster measured."""
    count = len({m.node for m in run.measurements if m.node is not None})
    return ((text["fact_nodes"], text["fact_nodes_value"].format(count=f"{count:,}")),) if count else ()


def duration(seconds: float, text: Text) -> str:
    """Seconds, with minutes from the first one on."""
    if seconds < 59.95:
        return text["seconds"].format(seconds=f"{seconds:.1f}")
    return text["minutes"].format(minutes=round(seconds) // 60, seconds=round(seconds) % 60)
