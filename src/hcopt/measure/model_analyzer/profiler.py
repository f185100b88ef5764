"""The profiler `model-analyzer`: NVIDIA Model Analyzer in remote mode, whose points are recorded one by one.

Model Analyzer plans, loads and measures; hcopt keeps what its perf_analyzer wrote, in µs and at once, because the CSV
that Model Analyzer writes at its end is rounded to 0.1 ms. What it dropped is a failed Measurement with its reason.

Where an interrupted run is resumed, Model Analyzer goes through its whole plan again, without its own checkpoint, which
may be torn; the perf_analyzer that it is given has the recorded answer at once for each point that was measured. So its
grid and its own report stay whole, and nothing is measured twice.
"""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

import yaml

from hcopt.analysis.node_effects import without_node_effects
from hcopt.analysis.plan import expected_sweep_s
from hcopt.analysis.plan_shards import has_gaps
from hcopt.analysis.ranking import nothing_was_measured, rank
from hcopt.errors import ProfileError
from hcopt.measure.model_analyzer.config import analyzer_config
from hcopt.measure.model_analyzer.follower import Follower
from hcopt.measure.model_analyzer.recorded_answers import Answers
from hcopt.measure.model_analyzer.report import REPORT_FOLDER, keep_report
from hcopt.measure.profiler import ProfileJob
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.verdict import Ranking
from hcopt.system.files import write_whole
from hcopt.system.process import Finished, last_lines
from hcopt.triton.base import Tools

YAML_NAME = "analyzer.yaml"
_REPORT_HOUSEKEEPING_S = 120.0
_MAX_BARREN_STARTS = 2
# perf_analyzer refuses all of its windows for one that holds no answer, which one of two stalls was seen to do.
_STALLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnalyzer:
    """The profiler `model-analyzer`, brute mode.

    Attributes:
        interval_ms: Length of one measurement window, the same for every point.
        latency_p99_limit_ms: What a variant has to keep; None where there is no limit.
        noise_ratio: How far windows vary, from the A/A measurement; None where there was none.
    """

    measures_whole_plan: ClassVar[bool] = True

    interval_ms: int
    latency_p99_limit_ms: float | None
    noise_ratio: float | None = None

    def profile(self, job: ProfileJob) -> None:
        """See `Profiler.profile`."""
        points = {(variant.config_name, load) for variant, load in product(job.plan.all_variants, job.plan.loads)}
        report = job.folder / "reports" / "summaries" / job.plan.model_name / REPORT_FOLDER
        # Where only its own report is missing, Model Analyzer makes that from the recorded answers.
        if report.is_dir() and points == {(one.variant.config_name, one.load) for one in job.known}:
            for _ in job.known:
                job.context.progress.known()
            return
        work = job.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        captures = work / "captures"
        captures.mkdir(parents=True)
        answers = Answers(work / "answers", job.known, has_gaps=has_gaps(job.plan))
        recorder = _write_recorder(work / "perf_analyzer", job.server.tools, captures, answers)
        config = analyzer_config(
            job,
            interval_ms=self._interval_ms(job),
            latency_p99_limit_ms=self.latency_p99_limit_ms,
            work=work,
            perf_analyzer=recorder,
        )
        yaml_file = job.folder / YAML_NAME
        write_whole(yaml_file, yaml.safe_dump(config, sort_keys=False))
        log = job.folder / "logs" / "model_analyzer.log"
        with closing(Follower(job, work / "output_models", captures, answers)) as follower:
            finished, died = self._run(job, work, yaml_file, log, follower)
            reason = follower.finish(died)
        keep_report(work / "export", report)
        shutil.rmtree(work)
        if reason is not None:
            ended = "did not end in time" if finished.timed_out else f"ended with {finished.returncode}"
            why = f"Model Analyzer {ended} without one measurement: {reason or last_lines(log)}"
            raise ProfileError(nothing_was_measured(why), log=log)

    def _run(
        self, job: ProfileJob, work: Path, yaml_file: Path, log: Path, follower: Follower
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
                timeout_s=self._limit_s(job),
                on_line=follower.read,
            )
            died = job.server.restart_if_dead()
            if died is None:
                follower.end_point()
                died = follower.died_between_points
            barren_starts = barren_starts + 1 if follower.recorded_count == before else 0
            # A death at the very point at which it began again may be chance, and there are thousands still to come.
            if died is None or barren_starts > _MAX_BARREN_STARTS:
                return finished, died
            follower.forget_point()

    def _limit_s(self, job: ProfileJob) -> float:
        return 5 * expected_sweep_s(job.plan, interval_ms=self._interval_ms(job)) + _REPORT_HOUSEKEEPING_S

    def _interval_ms(self, job: ProfileJob) -> int:
        """Long enough for answers where the server leaves some requests for a while."""
        return max(self.interval_ms, math.ceil(1000 * _STALLS * job.stall_s))

    def rank(self, plan: SweepPlan, swept: Iterable[Measurement]) -> Ranking:
        """See `Profiler.rank`; what differs from node to node is taken out first."""
        comparable = without_node_effects(tuple(swept), noise_ratio=self.noise_ratio)
        return rank(plan, comparable, latency_p99_limit_ms=self.latency_p99_limit_ms)


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
