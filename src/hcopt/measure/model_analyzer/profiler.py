"""A SweepPlan becomes a run of NVIDIA Model Analyzer in remote mode, and what it measured becomes Measurements.

Model Analyzer plans, loads and measures; hcopt keeps what its perf_analyzer wrote, in µs and at once, because the CSV
that Model Analyzer writes at its end is rounded to 0.1 ms. What it dropped is a failed Measurement with its reason.

Where an interrupted run is resumed, Model Analyzer goes through its whole plan again, without its own checkpoint, which
may be torn; the perf_analyzer that it is given has the recorded answer at once for each point that was measured. So its
grid and its own report stay whole, and nothing is measured twice.
"""

from __future__ import annotations

import csv
import math
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import product
from pathlib import Path

import yaml

from hcopt.analysis.plan import expected_sweep_s
from hcopt.analysis.ranking import Settings
from hcopt.errors import ProfileError
from hcopt.measure.model_analyzer.recorded_answers import Answers
from hcopt.measure.profiler import ProfileJob, with_reason
from hcopt.model.triton_config import parse_text, variant_of
from hcopt.records.json import JsonObject
from hcopt.records.measurement import FailureCause, LatencySummary, LoadPoint, Measurement, ServerTimes, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import is_usable
from hcopt.system.files import copy_whole, write_whole
from hcopt.system.machine import CpuTimes, read_cpu_times, steal_ratio
from hcopt.system.process import Finished, last_lines
from hcopt.system.wall_clock import WallClock
from hcopt.triton.base import Tools

YAML_NAME = "analyzer.yaml"
REPORT_FOLDER = "model_analyzer"
# perf_analyzer compares three windows; with this it takes them as they are. The same conditions for every point, and
# no point dropped because the machine was noisy: judging noise is the confirmation's work.
_WINDOWS = 3
_ANY_STABILITY_PERCENT = 999
_REPORT_HOUSEKEEPING_S = 120.0
_MOST_BARREN_STARTS = 2

_PREFIX = "[Model Analyzer]"
_PROFILING = re.compile(r"Profiling (\S+): (?:client batch size=(\d+), )?concurrency=(\d+)\s*$")
_LOAD_FAILED = re.compile(r"Model (\S+_config_\S+) load failed: (.*)$")
_FIGURES = ("Inferences/Second", *(f"{what} latency" for what in ("Avg", "p50", "p90", "p95", "p99")))
_HUNG = "took very long to exit"
_SERVER_ERROR = "] had error:"
_TROUBLE = re.compile(
    r"(Running perf_analyzer failed|took very long to exit|terminated by signal|Failed to |error|"
    r"valid requests recorded|larger time window|readiness failed)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnalyzer:
    """The profiler `model-analyzer`, brute mode.

    Attributes:
        interval_ms: Length of one measurement window, the same for every point.
        latency_p99_limit_ms: Goes into Model Analyzer's own report as a constraint, in whole ms.
    """

    interval_ms: int
    latency_p99_limit_ms: float | None

    def profile(self, job: ProfileJob) -> None:
        """See `Profiler.profile`."""
        points = {(variant.config_name, load) for variant, load in product(job.plan.all_variants, job.plan.loads)}
        report = job.folder / "reports" / "summaries" / job.plan.model_name / REPORT_FOLDER
        # Where only its own report is missing, Model Analyzer makes that from the recorded answers.
        if report.is_dir() and points == {(one.variant.config_name, one.load) for one in job.known}:
            for _ in job.known:
                job.progress.known()
            return
        work = job.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        captures = work / "captures"
        captures.mkdir(parents=True)
        answers = Answers(work / "answers", job.known)
        recorder = _write_recorder(work / "perf_analyzer", job.server.tools, captures, answers)
        config = analyzer_config(self, job, work=work, perf_analyzer=recorder)
        yaml_file = job.folder / YAML_NAME
        write_whole(yaml_file, yaml.safe_dump(config, sort_keys=False))
        log = job.folder / "logs" / "model_analyzer.log"
        follower = _Follower(job, work / "output_models", captures, answers)
        finished, died = self._run(job, work, yaml_file, log, follower)
        reason = follower.finish(died)
        _keep_report(work / "export", report)
        shutil.rmtree(work)
        if reason is not None:
            ended = "did not end in time" if finished.timed_out else f"ended with {finished.returncode}"
            raise ProfileError(f"Model Analyzer {ended} without one measurement: {reason or last_lines(log)}", log=log)

    def _run(
        self, job: ProfileJob, work: Path, yaml_file: Path, log: Path, follower: _Follower
    ) -> tuple[Finished, str | None]:
        """Model Analyzer from its start to its end; from its checkpoint again where what it ran in had died."""
        barren_starts = 0
        while True:
            follower.begin()
            before = follower.recorded_count
            finished = job.server.tools.run(
                "model-analyzer",
                ["profile", "--config-file", job.server.tools.path(yaml_file)],
                folder=work,
                log=log,
                timeout_s=self._limit_s(job.plan),
                on_line=follower.read,
            )
            died = job.server.revive()
            barren_starts = barren_starts + 1 if follower.recorded_count == before else 0
            # A death at the very point at which it began again may be chance, and there are thousands still to come.
            if died is None or barren_starts > _MOST_BARREN_STARTS:
                return finished, died
            follower.forget_point()

    def _limit_s(self, plan: SweepPlan) -> float:
        return 5 * expected_sweep_s(plan, interval_ms=self.interval_ms) + _REPORT_HOUSEKEEPING_S

    @property
    def perf_analyzer_limit_s(self) -> int:
        """Model Analyzer's own default is ten minutes, so that one hanging perf_analyzer stalls the sweep."""
        return math.ceil(3 * _WINDOWS * self.interval_ms / 1000) + 10


def analyzer_config(profiler: ModelAnalyzer, job: ProfileJob, *, work: Path, perf_analyzer: Path) -> JsonObject:
    """Model Analyzer's configuration, with paths as it will see them.

    Source: Model Analyzer 1.58, docs/config.md.
    """
    tools = job.server.tools
    return {
        "model_repository": tools.path(job.repository),
        "output_model_repository_path": tools.path(work / "output_models"),
        "override_output_model_repository": True,
        "checkpoint_directory": tools.path(work / "checkpoints"),
        "export_path": tools.path(work / "export"),
        "triton_launch_mode": "remote",
        "triton_grpc_endpoint": tools.endpoint.grpc,
        "triton_http_endpoint": tools.endpoint.http,
        "triton_metrics_url": tools.endpoint.metrics_url,
        "client_max_retries": 30,
        "perf_analyzer_path": tools.path(perf_analyzer),
        "perf_analyzer_timeout": profiler.perf_analyzer_limit_s,
        "perf_analyzer_max_auto_adjusts": 1,
        # The default kills a perf_analyzer that uses 80 % of the cores, which a saturating one does.
        "perf_analyzer_cpu_util": 1_000_000,
        "gpus": "[]",
        "run_config_search_mode": "brute",
        "profile_models": {job.plan.model_name: _model_section(profiler, job)},
    }


def _model_section(profiler: ModelAnalyzer, job: ProfileJob) -> JsonObject:
    plan = job.plan
    section: JsonObject = {
        "cpu_only": plan.instance_kind == "KIND_CPU",
        "perf_analyzer_flags": {
            "measurement-mode": "time_windows",
            "measurement-interval": profiler.interval_ms,
            "stability-percentage": _ANY_STABILITY_PERCENT,
            "max-trials": _WINDOWS + 1,
            **_flags(job.input_arguments),
        },
        "objectives": ["perf_throughput"],
        "parameters": {
            "batch_sizes": sorted({load.client_batch_size for load in plan.loads}),
            "concurrency": sorted({load.concurrency for load in plan.loads}),
        },
        "model_config_parameters": _model_config_parameters(plan),
    }
    if profiler.latency_p99_limit_ms is not None:
        limit_ms = max(1, math.floor(profiler.latency_p99_limit_ms))
        section["constraints"] = {"perf_latency_p99": {"max": limit_ms}}
    return section


def _flags(arguments: Sequence[str]) -> Mapping[str, str | list[str]]:
    """`--input-data F --shape a:1 --shape b:2` as Model Analyzer's mapping; an option given twice becomes a list."""
    flags: dict[str, str | list[str]] = {}
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        name = option.removeprefix("--")
        given = flags.get(name)
        flags[name] = value if given is None else [*([given] if isinstance(given, str) else given), value]
    return flags


def _model_config_parameters(plan: SweepPlan) -> JsonObject:
    """The grid. Keys that stand earlier vary slower, which is what gives the plan's numbers."""
    kind = plan.instance_kind
    parameters: JsonObject = {
        "instance_group": [{"kind": kind, "count": _values(v.instance_count for v in plan.variants)}]
    }
    if plan.default.max_batch_size > 0:
        parameters["max_batch_size"] = _values(v.max_batch_size for v in plan.variants)
        delays = _values(v.max_queue_delay_us for v in plan.variants)
        batching: JsonObject = {"max_queue_delay_microseconds": delays}
        # Model Analyzer sets dynamic_batching as a whole, so that the default's own would be lost.
        preferred = list(dict.fromkeys(v.preferred_batch_sizes for v in plan.variants))
        if preferred != [()]:
            batching["preferred_batch_size"] = [list(sizes) for sizes in preferred]
        parameters["dynamic_batching"] = batching
    swept: dict[str, list[str]] = {}
    for variant in plan.variants:
        for key, value in variant.parameters:
            if value not in swept.setdefault(key, []):
                swept[key].append(value)
    if swept:
        parameters["parameters"] = {key: {"string_value": values} for key, values in swept.items()}
    return parameters


def _values(values: Iterator[int]) -> list[int]:
    return list(dict.fromkeys(values))


def _write_recorder(path: Path, tools: Tools, captures: Path, answers: Answers | None = None) -> Path:
    """A perf_analyzer that leaves a second name for each report it writes, and asks for a recorded one first.

    The report gets that name before perf_analyzer starts: it is then replaced by the program itself, so that Model
    Analyzer's kill reaches the program, and no shell is left between them.
    """
    known = "" if answers is None else answers.shell(tools.path(answers.folder))
    write_whole(
        path,
        "#!/bin/sh\n"
        "previous=\n"
        'for argument in "$@"; do\n'
        '  if [ "$previous" = -f ] || [ "$previous" = --latency-report-file ]; then report=$argument; fi\n'
        "  previous=$argument\n"
        "done\n"
        f"{known}"
        # Where a killed perf_analyzer left its report, this one's would be the same file.
        'if [ -n "${report:-}" ]; then\n'
        '  rm -f "$report"\n'
        '  : >"$report"\n'
        f'  ln "$report" {shlex.quote(tools.path(captures))}/"$(date +%s%N)".csv\n'
        "fi\n"
        f'exec {shlex.quote(tools.program("perf_analyzer"))} "$@"\n',
    )
    path.chmod(0o755)
    return path


class _Follower:
    """Reads Model Analyzer's output as it comes and records each point as soon as it has ended."""

    def __init__(self, job: ProfileJob, output_models: Path, captures: Path, answers: Answers) -> None:
        self._job = job
        self._output_models = output_models
        self._captures = captures
        self._answers = answers
        self._variants = {variant.settings: variant for variant in reversed(job.plan.variants)}
        self._point: tuple[ModelConfigVariant, LoadPoint] | None = None
        self._point_started = ""
        self._point_began_s = 0.0
        self._clock = WallClock()
        self._cpu_before: CpuTimes = read_cpu_times()
        self._trouble: list[str] = []
        self._died: str | None = None
        self._recorded = {(one.variant.config_name, one.load) for one in job.known}
        self._first_reason = next((one.error for one in job.known if one.error), "")
        self._any_measured = any(one.error is None for one in job.known)

    @property
    def recorded_count(self) -> int:
        """Points that have been recorded, failed ones too."""
        return len(self._recorded)

    def begin(self) -> None:
        """Before Model Analyzer starts, or starts again."""
        self._answers.forget()

    def forget_point(self) -> None:
        """Drops the point that is under way: it will be measured again."""
        self._point = None

    def read(self, line: str) -> None:
        """Takes one line of the output."""
        started = _PROFILING.search(line)
        failed = _LOAD_FAILED.search(line)
        if started:
            self._end_point()
            name, rows, concurrency = started.groups()
            self._start_point(name, LoadPoint(concurrency=int(concurrency), client_batch_size=int(rows or 1)))
        elif failed:
            self._end_point()
            variant = self._variant(failed[1])
            if variant is not None:
                for load in self._job.plan.loads:
                    self._fail_missing(variant, load, f"the server could not load it: {failed[2]}", cause="refused")
        elif self._trouble or _TROUBLE.search(line):
            if _HUNG in line and self._point is not None:
                self._job.server.suspect(f"{self._point[0].config_name} does not answer")
                self._died = self._job.server.revive()
            elif not self._trouble:
                # At once: Model Analyzer waits half a minute for a server that has gone, then gives up the whole sweep.
                self._died = self._job.server.revive()
            self._trouble.append(line.removeprefix(_PREFIX).strip())

    def finish(self, died: str | None) -> str | None:
        """Records what never came.

        Args:
            died: What had died when Model Analyzer ended.

        Returns:
            None where something was measured; else why the first point failed, empty if nothing is known.
        """
        self._end_point(died)
        known = self._first_reason
        for variant, load in product(self._job.plan.all_variants, self._job.plan.loads):
            self._fail_missing(variant, load, died or _left_out(variant, load))
        return None if self._any_measured else known

    def _fail_missing(
        self, variant: ModelConfigVariant, load: LoadPoint, reason: str, *, cause: FailureCause = "other"
    ) -> None:
        if (variant.config_name, load) not in self._recorded:
            self._record(_failed(variant, load, _now(), reason, cause))

    def _start_point(self, name: str, load: LoadPoint) -> None:
        variant = self._variant(name)
        known = variant is not None and self._answers.give(variant, load)
        if known:
            self._job.progress.known()
        if variant is None or known:
            return
        self._point = (variant, load)
        self._point_started, self._point_began_s = _now(), time.monotonic()
        self._clock, self._cpu_before = WallClock(), read_cpu_times()
        self._trouble = []
        self._died = None
        self._job.progress.started(f"{variant.config_name}, concurrency {load.concurrency}")

    def _variant(self, name: str) -> ModelConfigVariant | None:
        """The plan's variant with the settings of the config.pbtxt that Model Analyzer wrote under its own name.

        None where the plan leaves out this combination of its values: Model Analyzer measures all combinations.
        """
        plan = self._job.plan
        if name.endswith("_config_default"):
            return plan.default
        try:
            text = (self._output_models / name / "config.pbtxt").read_text(encoding="utf-8")
        except OSError as error:
            raise ProfileError(f"Model Analyzer wrote no configuration for {name}: {error}") from error
        settings = variant_of(parse_text(text), name).settings
        found = self._variants.get(settings)
        if found is None and not _combines(plan, settings):
            raise ProfileError(f"Model Analyzer's {name} is none of the plan's variants: {settings}")
        return found

    def _end_point(self, died: str | None = None) -> None:
        if self._point is None:
            return
        variant, load = self._point
        self._point = None
        row, set_clock = self._newest_report(load), self._clock.said()
        if row is None or set_clock is not None:
            reason = set_clock or " ".join(self._trouble)[:2000] or "perf_analyzer gave no figures"
            cause: FailureCause = "other" if set_clock else _cause(self._trouble)
            failed = replace(_failed(variant, load, self._point_started, reason, cause), elapsed_s=self._elapsed_s())
            self._record(with_reason(failed, self._died or died or self._job.server.revive()))
            return
        steal = steal_ratio(self._cpu_before, read_cpu_times())
        self._any_measured = True
        measured = _measured(variant, load, self._point_started, row, steal)
        self._record(replace(measured, elapsed_s=self._elapsed_s()))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._point_began_s

    def _newest_report(self, load: LoadPoint) -> Mapping[str, str] | None:
        """The row of the newest report; one that is still empty belongs to the next point, which has just begun.

        What has been read goes, so that a point takes no longer the more there were before it.
        """
        captures = sorted(self._captures.iterdir(), reverse=True)
        written = [path for path in captures if path.stat().st_size]
        rows = [read_report(path) for path in written]
        # An older one that is empty is a killed perf_analyzer's.
        for path in {*written, *captures[1:]}:
            path.unlink()
        return next((row for row in rows if row is not None and row.get("Concurrency") == str(load.concurrency)), None)

    def _record(self, measurement: Measurement) -> None:
        self._recorded.add((measurement.variant.config_name, measurement.load))
        self._first_reason = self._first_reason or measurement.error or ""
        self._job.record(measurement)
        self._job.progress.measured(measurement)


def _combines(plan: SweepPlan, settings: Settings) -> bool:
    """Whether each of the settings, and of the parameters, is that of some variant of the plan."""
    size, instances, delay, parameters, batching, preferred = settings
    variants = plan.variants
    return (
        any((v.max_batch_size, v.dynamic_batching) == (size, batching) for v in variants)
        and any(v.instance_count == instances for v in variants)
        and any(v.max_queue_delay_us == delay for v in variants)
        and any(v.preferred_batch_sizes == preferred for v in variants)
        and all(any(pair in v.parameters for v in variants) for pair in parameters)
    )


def read_report(path: Path) -> Mapping[str, str] | None:
    """The one row of perf_analyzer's CSV report, or None where it is cut or holds no usable figures."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        try:
            row = next(csv.DictReader(file), {})
            usable = is_usable(*(float(row[column]) for column in _FIGURES))
        except (KeyError, TypeError, ValueError, csv.Error):  # csv.Error: a NUL byte, until Python 3.11
            return None
    return row if usable else None


def _measured(
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


def _cause(trouble: Sequence[str]) -> FailureCause:
    """By what Model Analyzer passes on of perf_analyzer: a request's error, or that it had to be ended."""
    if any(_SERVER_ERROR in line for line in trouble):
        return "refused"
    return "unanswered" if any(_HUNG in line for line in trouble) else "other"


def _failed(
    variant: ModelConfigVariant, load: LoadPoint, started_at: str, reason: str, cause: FailureCause
) -> Measurement:
    return Measurement(
        phase="sweep",
        profiler="model-analyzer",
        variant=variant,
        load=load,
        started_at=started_at,
        error=reason,
        failure_cause=cause,
    )


def _left_out(variant: ModelConfigVariant, load: LoadPoint) -> str:
    if load.client_batch_size > max(1, variant.max_batch_size):
        return f"a request of {load.client_batch_size} rows is more than its max_batch_size {variant.max_batch_size}"
    return "Model Analyzer left it out"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _keep_report(export: Path, into: Path) -> None:
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
