"""Model Analyzer's output, read as it comes: each point is recorded as soon as it has ended."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import product, takewhile
from pathlib import Path
from typing import Any

from hcopt.errors import ProfileError, RuntimeStartError
from hcopt.measure.load.perf_analyzer import with_reason, with_share
from hcopt.measure.memory_watch import MemoryWatch, not_readable
from hcopt.measure.model_analyzer.recorded_answers import Answers
from hcopt.measure.model_analyzer.report import measured_point, read_report
from hcopt.measure.profiler import ProfileJob
from hcopt.model.triton_config import parse_text, to_json, variant_of, without_empty_optimization
from hcopt.records.measurement import FailureCause, LoadPoint, Measurement, ServerTimes, SweepPlan
from hcopt.records.model import ModelConfigVariant, Settings
from hcopt.system.machine import CpuTimes, read_cpu_times, steal_ratio, throttled_ratio
from hcopt.system.wall_clock import WallClock

_PREFIX = "[Model Analyzer]"
_PROFILING = re.compile(r"Profiling (\S+): (?:client batch size=(\d+), )?concurrency=(\d+)\s*$")
_LOAD_FAILED = re.compile(r"Model (\S+_config_\S+) load failed: (.*)$")
_HUNG = "took very long to exit"
_SERVER_ERROR = "] had error:"
_POINT_IS_OVER = "Saved checkpoint"
_TROUBLE = re.compile(
    r"(Running perf_analyzer failed|took very long to exit|terminated by signal|Failed to |error|"
    r"valid requests recorded|larger time window|readiness failed)",
    re.IGNORECASE,
)


class Follower:
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
        self._memory = MemoryWatch(not_readable)
        self._trouble: list[str] = []
        self._refused: list[Measurement] = []
        self._answered: Callable[[], ServerTimes | None] = lambda: None
        self._died: str | None = None
        self._died_between_points: str | None = None
        self._recorded = {(one.variant.config_name, one.load) for one in job.known}
        self._first_reason = next((one.error for one in job.known if one.error), "")
        self._any_measured = any(one.error is None for one in job.known)

    @property
    def recorded_count(self) -> int:
        """Points that have been recorded, failed ones too."""
        return len(self._recorded)

    @property
    def died_between_points(self) -> str | None:
        """What died since `begin` while no point was under way: what it was to load then is still to be measured."""
        return self._died_between_points

    def begin(self) -> None:
        """Before Model Analyzer starts, or starts again."""
        self._answers.forget()
        self._died_between_points = None

    def forget_point(self) -> None:
        """Drops the point that is under way: it will be measured again."""
        self._point = None
        self._memory.stop()

    def close(self) -> None:
        """After all, whatever ended it."""
        self._memory.stop()

    def read(self, line: str) -> None:
        """Takes one line of the output."""
        started = _PROFILING.search(line)
        failed = _LOAD_FAILED.search(line)
        if started:
            self.end_point()
            name, rows, concurrency = started.groups()
            self._start_point(name, LoadPoint(concurrency=int(concurrency), client_batch_size=int(rows or 1)))
        elif failed:
            self.end_point()
            variant = self._variant(failed[1])
            # A server that died of the load, or by chance, has refused nothing.
            if self._restart_if_dead() is None and variant is not None:
                for load in self._job.plan.loads:
                    self._fail_missing(variant, load, f"the server could not load it: {failed[2]}", cause="refused")
        elif self._trouble or _TROUBLE.search(line):
            if _HUNG in line and self._point is not None:
                # Who has answered since the point began is slow, and well.
                if self._answered() is None:
                    self._job.server.mark_unhealthy(f"{self._point[0].config_name} does not answer")
                self._died = self._restart_if_dead()
            elif not self._trouble:
                # At once: Model Analyzer waits half a minute for a server that has gone, then gives up the whole sweep.
                self._died = self._restart_if_dead()
            self._trouble.append(line.removeprefix(_PREFIX).strip())

    def _restart_if_dead(self) -> str | None:
        died = self._job.server.restart_if_dead()
        if self._point is None:
            self._died_between_points = self._died_between_points or died
        return died

    def finish(self, died: str | None) -> str | None:
        """Records what never came.

        Args:
            died: What had died when Model Analyzer ended.

        Returns:
            None where something was measured; else why the first point failed, empty if nothing is known.
        """
        self.end_point(died)
        if self._job.refused_share is not None:
            self._record_refused(self._job.refused_share)
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
        # What perf_analyzer says where it is not to measure is no trouble of the next point's.
        self._trouble, self._died = [], None
        known = self._answers.give(variant, load)
        if known:
            self._job.context.progress.known()
        if variant is None or known:
            return
        self._point = (variant, load)
        self._point_started, self._point_began_s = _now(), time.monotonic()
        self._clock, self._cpu_before = WallClock(), read_cpu_times()
        self._answered = self._watch(name)
        self._memory = MemoryWatch(self._job.server.memory_mb).start()
        self._job.context.progress.started(f"{variant.config_name}, concurrency {load.concurrency}")

    def _watch(self, name: str) -> Callable[[], ServerTimes | None]:
        if self._job.watch is not None:
            with suppress(RuntimeStartError):
                return self._job.watch(name)
        return lambda: None

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
        config = without_empty_optimization(parse_text(text))
        settings = variant_of(config, name).settings
        found = self._variants.get(settings)
        if found is None and not _combines(plan, settings):
            raise ProfileError(f"Model Analyzer's {name} is none of the plan's variants: {settings}")
        if found is not None and self._job.config_of is not None:
            _refuse_other(json.loads(to_json(config)), json.loads(self._job.config_of(found)), name)
        return found

    def end_point(self, died: str | None = None) -> None:
        """Records the point that is under way, if there is one.

        Args:
            died: What had died since.
        """
        if self._point is None:
            return
        variant, load = self._point
        self._point = None
        self._memory.stop()
        (row, written_s), set_clock = self._newest_report(load), self._clock.said()
        if row is None or set_clock is not None:
            reason = set_clock or _reason(self._trouble) or "perf_analyzer gave no figures"
            cause: FailureCause = "other" if set_clock else _cause(self._trouble)
            failed = replace(_failed(variant, load, self._point_started, reason, cause), elapsed_s=self._elapsed_s())
            self._record_failed(with_reason(failed, self._died or died or self._job.server.restart_if_dead()))
            return
        before, after = self._cpu_before, read_cpu_times()
        self._any_measured = True
        measured = measured_point(variant, load, self._point_started, row, steal_ratio(before, after))
        throttled = throttled_ratio(before, after)
        # Model Analyzer tells of a point's end only when it has loaded the next variant, beside this one.
        memory_mb = self._memory.peak_mb(until_s=written_s)
        self._record(
            replace(measured, throttled_ratio=throttled, server_memory_mb=memory_mb, elapsed_s=self._elapsed_s())
        )

    def _record_failed(self, failed: Measurement) -> None:
        """At once, but for what was refused: its share can only be counted once Model Analyzer has ended."""
        if failed.failure_cause == "refused" and self._job.refused_share is not None:
            self._recorded.add((failed.variant.config_name, failed.load))
            self._refused.append(failed)
        else:
            self._record(failed)

    def _record_refused(self, share: Callable[[ModelConfigVariant, LoadPoint], str | None]) -> None:
        if any(one.variant == self._job.plan.default for one in self._refused):
            self._first_reason = ""  # the default's own, which was measured first
        for one in self._refused:
            self._record(replace(one, error=with_share(str(one.error), share(one.variant, one.load))))
        self._refused.clear()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._point_began_s

    def _newest_report(self, load: LoadPoint) -> tuple[Mapping[str, str] | None, float]:
        """The row of the newest report, and when it was written, in seconds since 1970.

        One that is still empty belongs to the next point, which has just begun. What has been read goes, so that a
        point takes no longer the more there were before it.
        """
        captures = sorted(self._captures.iterdir(), reverse=True)
        written = [path for path in captures if path.stat().st_size]
        rows = [(read_report(path), path.stat().st_mtime) for path in written]
        # An older one that is empty is a killed perf_analyzer's.
        for path in {*written, *captures[1:]}:
            path.unlink()
        for row, at_s in rows:
            if row is not None and row.get("Concurrency") == str(load.concurrency):
                return row, at_s
        return None, 0.0

    def _record(self, measurement: Measurement) -> None:
        self._recorded.add((measurement.variant.config_name, measurement.load))
        self._first_reason = self._first_reason or measurement.error or ""
        self._job.context.record(measurement)
        self._job.context.progress.measured(measurement)


def _refuse_other(written: Mapping[str, Any], measured: Mapping[str, Any], name: str) -> None:
    """What is swept is what is confirmed and delivered by that name, down to what no sweep sets.

    Raises:
        ProfileError: They are not the same.
    """
    other = sorted(field for field in {*written, *measured} if written.get(field) != measured.get(field))
    if other:
        raise ProfileError(f"Model Analyzer would measure another {', '.join(other)} under the name {name} than hcopt")


def _combines(plan: SweepPlan, settings: Settings) -> bool:
    """Whether each of the settings, and of the parameters, is that of some variant of the plan."""
    size, instances, delay, parameters, batching, preferred, model_file, accelerator = settings
    variants = plan.variants
    return (
        any((v.max_batch_size, v.dynamic_batching) == (size, batching) for v in variants)
        and any(v.instance_count == instances for v in variants)
        and any(v.max_queue_delay_us == delay for v in variants)
        and any(v.preferred_batch_sizes == preferred for v in variants)
        and any(v.model_file == model_file for v in variants)
        and any(v.execution_accelerator == accelerator for v in variants)
        and all(any(pair in v.parameters for v in variants) for pair in parameters)
    )


def _reason(trouble: Sequence[str]) -> str:
    """What the server answered, where that ended perf_analyzer; else all that was said of the point."""
    said = next((line.partition(_SERVER_ERROR)[2].strip() for line in trouble if _SERVER_ERROR in line), None)
    of_the_point = takewhile(lambda line: not line.startswith(_POINT_IS_OVER), trouble)
    return " ".join(of_the_point)[:2000] if said is None else f"the server answered with an error: {said}"


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
