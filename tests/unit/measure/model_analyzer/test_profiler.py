"""A recorded Model Analyzer, played line by line: what becomes of measured, dropped and refused points."""

from __future__ import annotations

import csv
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from tritonclient.grpc.model_config_pb2 import ModelConfig

from hcopt.errors import ProfileError, RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.model_analyzer.report import read_report
from hcopt.measure.profiler import ProfileJob
from hcopt.model.triton_config import apply_variant, parse_text, to_json
from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement, ServerTimes, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.store.replay import Replay
from hcopt.system.process import Finished
from hcopt.system.wall_clock import WallClock
from tests.support import fakes
from tests.support.recorded_sweep import DATA, RecordedSweep, recorded_plan
from tests.support.records import MODEL_NAME, default_variant

LIMIT_MS = 50.0
HANGS = "perf_analyzer took very long to exit, killing perf_analyzer"
REPORT = (DATA / "captures" / "default_2.csv").read_text()


@dataclass
class _DyingServer(fakes.FakeServer):
    """One that has died whenever a Model Analyzer has ended, but for the last."""

    starts: int = 1

    def restart_if_dead(self) -> str | None:
        super().restart_if_dead()
        return "the server died" if len(self.tools.calls) < self.starts else None


@dataclass
class Sweep:
    """A sweep with a Model Analyzer that plays, and what it left."""

    folder: Path
    play: fakes.Play
    plan: SweepPlan = field(default_factory=recorded_plan)
    died: bool = False
    known: tuple[Measurement, ...] = ()
    plays: tuple[fakes.Play, ...] = ()
    base: ModelConfig | None = None
    refused_share: Callable[[ModelConfigVariant, LoadPoint], str | None] | None = None
    watch: Callable[[str], Callable[[], ServerTimes | None]] | None = None
    recorded: list[Measurement] = field(default_factory=list)
    held_mb: float | None = None
    progress: fakes.RecordedProgress = field(default_factory=fakes.RecordedProgress)

    def __post_init__(self) -> None:
        (self.folder / "logs").mkdir(exist_ok=True)
        self.tools = fakes.FakeTools([self.play, *self.plays])

    def run(self) -> list[Measurement]:
        self.server = _DyingServer(tools=self.tools, died=self.died, starts=1 + len(self.plays), held_mb=self.held_mb)
        job = ProfileJob(
            plan=self.plan,
            server=self.server,
            repository=self.folder / "repository",
            folder=self.folder,
            input_arguments=("--input-data", self.tools.path(self.folder / "input.json")),
            context=RunContext(record=self.recorded.append, progress=self.progress, replay=Replay(self.known)),
            config_of=None
            if self.base is None
            else lambda variant: to_json(apply_variant(self.base or ModelConfig(), variant, "KIND_CPU")),
            refused_share=self.refused_share,
            watch=self.watch,
        )
        ModelAnalyzer(interval_ms=1000, latency_p99_limit_ms=LIMIT_MS).profile(job)
        return self.recorded

    def by_point(self) -> dict[tuple[str, int], Measurement]:
        return {(_short(one), one.load.concurrency): one for one in self.recorded}


def _short(one: Measurement) -> str:
    return one.variant.config_name.removeprefix(f"{MODEL_NAME}_config_")


def test_each_point_of_the_plan_is_recorded_once_in_the_order_of_the_sweep(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep())
    assert [(_short(one), one.load.concurrency, one.error is None) for one in sweep.run()] == [
        ("default", 2, True),
        ("default", 4, True),
        ("0", 2, True),
        ("0", 4, False),
        ("1", 2, True),
        ("1", 4, True),
        ("2", 2, False),
        ("2", 4, False),
        ("3", 2, False),
        ("3", 4, False),
    ]
    assert sweep.progress.measurements == sweep.recorded
    assert sweep.progress.steps[0] == f"{MODEL_NAME}_config_default, concurrency 2"


def test_figures_are_perf_analyzer_s_own_and_not_the_rounded_ones(tmp_path: Path) -> None:
    first = Sweep(tmp_path, RecordedSweep()).run()[0]
    assert first.throughput_infer_per_s == 2341.96
    assert first.latency == LatencySummary(avg_ms=0.846, p50_ms=0.729, p90_ms=1.006, p95_ms=1.131, p99_ms=1.606)
    assert first.server == ServerTimes(queue_us=127, compute_input_us=17, compute_infer_us=241, compute_output_us=160)
    assert (first.phase, first.profiler, first.block) == ("sweep", "model-analyzer", None)
    assert (first.variant, first.load) == (default_variant(), LoadPoint(concurrency=2))


def test_figures_agree_with_model_analyzer_s_own_table(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep())
    sweep.run()
    rows = list(csv.DictReader((DATA / "metrics-model-inference.csv").read_text().splitlines()))
    assert len(rows) == 5
    for row in rows:
        name = row["Model Config Path"].removeprefix(f"{MODEL_NAME}_config_")
        ours = sweep.by_point()[(name, int(row["Concurrency"]))]
        assert ours.throughput_infer_per_s == pytest.approx(float(row["Throughput (infer/sec)"]), abs=0.051)
        assert ours.latency is not None
        assert ours.latency.p99_ms == pytest.approx(float(row["p99 Latency (ms)"]), abs=0.051)


def test_dropped_point_is_a_failed_measurement_with_model_analyzer_s_words(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep())
    sweep.run()
    error = sweep.by_point()[("0", 4)].error
    assert error is not None
    assert error.startswith(HANGS)
    assert "[Model Analyzer]" not in error


def not_loaded(name: str) -> Callable[[], ServerTimes | None]:
    raise RuntimeStartError(f"Triton has no statistics of the model {name}")


def answered(name: str) -> Callable[[], ServerTimes | None]:
    assert name.startswith(f"{MODEL_NAME}_config_")
    return lambda: ServerTimes(queue_us=1.0, compute_input_us=1.0, compute_infer_us=1.0, compute_output_us=1.0)


@pytest.mark.parametrize(
    ("watch", "suspected"), [(None, 1), (not_loaded, 1), (lambda _: lambda: None, 1), (answered, 0)]
)
def test_server_that_has_answered_since_the_point_began_is_slow_and_not_started_again(
    tmp_path: Path, watch: Callable[[str], Callable[[], ServerTimes | None]] | None, suspected: int
) -> None:
    sweep = Sweep(tmp_path, RecordedSweep(), watch=watch)
    sweep.run()
    assert sweep.server.suspicions == [f"{MODEL_NAME}_config_0 does not answer"] * suspected


def test_variant_that_cannot_be_loaded_fails_at_every_load_with_the_server_s_words(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep())
    sweep.run()
    for point in (("2", 2), ("2", 4), ("3", 2), ("3", 4)):
        error = sweep.by_point()[point].error
        assert error is not None
        assert error.startswith("the server could not load it: ")
        assert "intra_op_thread_count is 'two'" in error


def test_each_measurement_is_handed_over_before_the_next_point_ends(tmp_path: Path) -> None:
    # The output stops after `Profiling …config_0: concurrency=4`.
    lines = (DATA / "model_analyzer.log").read_text().splitlines()
    stop = next(n for n, line in enumerate(lines) if "config_0: concurrency=4" in line) + 1
    sweep = Sweep(tmp_path, RecordedSweep(lines=stop, finished=fakes.HUNG))
    sweep.run()
    assert [one.error is None for one in sweep.recorded[:4]] == [True, True, True, False]
    assert {one.error for one in sweep.recorded[4:]} == {"Model Analyzer left it out"}
    assert len(sweep.recorded) == 10


def test_variants_are_told_apart_by_content_though_numbered_otherwise(tmp_path: Path) -> None:
    swapped = {f"{MODEL_NAME}_config_0": f"{MODEL_NAME}_config_1", f"{MODEL_NAME}_config_1": f"{MODEL_NAME}_config_0"}
    sweep = Sweep(tmp_path, RecordedSweep(folders=swapped))
    sweep.run()
    # What was measured as its config_1 is the plan's config_0.
    assert sweep.by_point()[("0", 4)].throughput_infer_per_s == 2770.94
    assert sweep.by_point()[("1", 4)].error is not None


def test_configuration_that_is_none_of_the_plan_s_ends_the_sweep(tmp_path: Path) -> None:
    foreign = {f"{MODEL_NAME}_config_0": f"{MODEL_NAME}_config_default"}
    with pytest.raises(ProfileError, match="config_0 is none of the plan's variants"):
        Sweep(tmp_path, RecordedSweep(folders=foreign)).run()


def test_combination_that_the_plan_leaves_out_is_not_recorded(tmp_path: Path) -> None:
    # As with `auto` threads: Model Analyzer measures all combinations of the values, the plan has only some of them.
    sweep = Sweep(tmp_path, RecordedSweep())
    sweep.plan = replace(sweep.plan, variants=tuple(v for v in sweep.plan.variants if v.config_name[-1] != "0"))
    sweep.run()
    names = {one.variant.config_name for one in sweep.recorded}
    assert names == {variant.config_name for variant in sweep.plan.all_variants}


def test_missing_configuration_ends_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="wrote no configuration for HomeCreditDefaultModel_config_0"):
        Sweep(tmp_path, RecordedSweep(folders={f"{MODEL_NAME}_config_0": "nothing"})).run()


@pytest.mark.parametrize(
    "report",
    [
        "",
        REPORT.splitlines()[0],
        REPORT[: REPORT.rindex("1606")],
        REPORT.replace("2341.96", "nan"),
        REPORT.replace("2341.96", "0"),
        REPORT.replace(",1606,", ",-,"),
        REPORT.replace("p99 latency", "p98 latency"),
        REPORT.replace("p50 latency", "median"),
        "\x00\xff",
    ],
)
def test_report_that_is_cut_or_without_figures_is_a_failed_measurement(tmp_path: Path, report: str) -> None:
    sweep = Sweep(tmp_path, RecordedSweep(reports={"default_2": report}))
    sweep.run()
    assert sweep.by_point()[("default", 2)].error == "perf_analyzer gave no figures"
    assert sweep.by_point()[("default", 4)].error is None


def test_report_of_another_load_is_not_taken(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep(reports={"config_0_4": REPORT}))
    sweep.run()
    assert sweep.by_point()[("0", 4)].error is not None


def test_point_without_a_report_does_not_get_an_earlier_one_s(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep(reports={"config_0_2": ""}))
    sweep.run()
    assert sweep.by_point()[("0", 2)].error == "perf_analyzer gave no figures"


def test_answer_that_is_an_error_is_the_reason_without_what_perf_analyzer_says_around_it(tmp_path: Path) -> None:
    play = fakes.ends(
        fakes.WELL,
        f"[Model Analyzer] Profiling {MODEL_NAME}_config_default: concurrency=2",
        "[Model Analyzer] Running perf_analyzer failed with exit status 99:",
        "*** Measurement Settings ***",
        "Thread [1] had error: Request timeout expired ",
    )
    sweep = Sweep(tmp_path, play)
    with pytest.raises(ProfileError, match=r"the server answered with an error: Request timeout expired$"):
        sweep.run()
    first = sweep.recorded[0]
    assert (first.error, first.failure_cause) == (
        "the server answered with an error: Request timeout expired",
        "refused",
    )


def test_refused_point_has_its_share_which_is_counted_once_model_analyzer_has_ended(tmp_path: Path) -> None:
    ended, heavy = list[str](), max(load.concurrency for load in recorded_plan().loads)

    def play(call: fakes.Call) -> Finished:
        for concurrency, trouble in ((2, "Thread [1] had error: Request timeout expired"), (heavy, "Failed to start")):
            call.say(f"[Model Analyzer] Profiling {MODEL_NAME}_config_default: concurrency={concurrency}")
            call.say("[Model Analyzer] Running perf_analyzer failed with exit status 99:")
            call.say(trouble)
        ended.append("ended")
        return fakes.WELL

    def share(variant: ModelConfigVariant, load: LoadPoint) -> str:
        assert ended
        return f"5% of {variant.config_name.rpartition('_')[2]} at {load.concurrency}"

    sweep = Sweep(tmp_path, play, refused_share=share)
    said = "5% of default at 2: the server answered with an error: Request timeout expired"
    with pytest.raises(ProfileError, match=f"the default could not be measured.*without one measurement: {said}"):
        sweep.run()
    default = sweep.by_point()[("default", 2)]
    assert (default.error, default.failure_cause) == (said, "refused")
    assert len(sweep.recorded) == 10


def test_reason_of_a_point_ends_where_the_point_does(tmp_path: Path) -> None:
    play = fakes.ends(
        fakes.WELL,
        f"[Model Analyzer] Profiling {MODEL_NAME}_config_default: concurrency=2",
        "[Model Analyzer] Ran perf_analyzer 1 times, but no valid requests recorded",
        "[Model Analyzer] Saved checkpoint to /somewhere/0.ckpt",
        "[Model Analyzer] Creating model config: next",
    )
    sweep = Sweep(tmp_path, play)
    with pytest.raises(ProfileError):
        sweep.run()
    assert sweep.recorded[0].error == "Ran perf_analyzer 1 times, but no valid requests recorded"


def test_failure_after_the_measuring_is_no_failure_of_the_sweep(tmp_path: Path) -> None:
    # Model Analyzer ends with 1 where its own report cannot be written.
    assert len(Sweep(tmp_path, RecordedSweep(finished=Finished(returncode=1, elapsed_s=1.0))).run()) == 10


@pytest.mark.parametrize(
    ("finished", "ended"),
    [(Finished(returncode=1, elapsed_s=1.0), "ended with 1"), (fakes.HUNG, "did not end in time")],
)
def test_sweep_without_one_measurement_is_an_error_with_the_log(tmp_path: Path, finished: Finished, ended: str) -> None:
    sweep = Sweep(tmp_path, fakes.ends(finished, "Traceback", "KeyError: 'models'"))
    with pytest.raises(
        ProfileError, match=rf"{ended} without one measurement: Traceback\nKeyError: 'models'"
    ) as caught:
        sweep.run()
    assert caught.value.log == tmp_path / "logs" / "model_analyzer.log"
    assert len(sweep.recorded) == 10
    assert all(one.error == "Model Analyzer left it out" for one in sweep.recorded)


def test_sweep_in_which_every_point_failed_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    reports = dict.fromkeys(("default_2", "default_4", "config_0_2", "config_1_2", "config_1_4"), "")
    with pytest.raises(ProfileError, match="without one measurement: perf_analyzer gave no figures"):
        Sweep(tmp_path, RecordedSweep(reports=reports)).run()


def test_dead_server_is_the_error_whatever_model_analyzer_says(tmp_path: Path) -> None:
    with pytest.raises(RuntimeStartError, match="ended by itself"):
        Sweep(tmp_path, RecordedSweep(lines=0), died=True).run()


def test_request_larger_than_a_batch_is_named_as_the_reason(tmp_path: Path) -> None:
    plan = replace(recorded_plan(), loads=(LoadPoint(concurrency=2), LoadPoint(concurrency=2, client_batch_size=12)))
    sweep = Sweep(tmp_path, RecordedSweep(lines=0), plan=plan)
    with pytest.raises(ProfileError):
        sweep.run()
    errors = {_short(one): one.error for one in sweep.recorded if one.load.client_batch_size == 12}
    assert errors["0"] == "a request of 12 rows is more than its max_batch_size 8"
    assert errors["1"] == "Model Analyzer left it out"


def test_client_batch_size_is_read_from_the_output(tmp_path: Path) -> None:
    load = LoadPoint(concurrency=2, client_batch_size=4)

    def play(call: fakes.Call) -> Finished:
        call.say(f"[Model Analyzer] Profiling {MODEL_NAME}_config_default: client batch size=4, concurrency=2")
        (tmp_path / "work" / "captures" / "1.csv").write_text(REPORT)
        return fakes.WELL

    sweep = Sweep(tmp_path, play, plan=replace(recorded_plan(), loads=(load,)))
    first = sweep.run()[0]
    assert (first.load, first.error) == (load, None)


def test_work_is_gone_and_model_analyzer_s_report_kept(tmp_path: Path) -> None:
    Sweep(tmp_path, RecordedSweep()).run()
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    kept = f"reports/summaries/{MODEL_NAME}/model_analyzer"
    assert left == [
        "analyzer.yaml",
        "logs/model_analyzer.log",
        f"{kept}/metrics-model-inference.csv",
        f"{kept}/result_summary.html",
    ]


def test_hanging_model_analyzer_is_ended(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, RecordedSweep())
    sweep.run()
    [call] = sweep.tools.calls
    assert call.tool == "model-analyzer"
    assert call.folder == tmp_path / "work"
    # Longer than all ten points with a hang each, and not for ever.
    assert 10 * 19 < call.timeout_s < 3600


@pytest.mark.parametrize("text", ["", "\n", "a,b\n1,2\n"])
def test_report_without_the_columns_has_no_row(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert read_report(tmp_path / "x.csv") is None


def test_resumed_sweep_records_only_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = Sweep(tmp_path / "whole", RecordedSweep()).run()
    (tmp_path / "rest").mkdir()
    rest = Sweep(tmp_path / "rest", RecordedSweep(), known=tuple(whole[:4]))
    points = [(one.variant.config_name, one.load, one.error is None) for one in whole]
    assert [(one.variant.config_name, one.load, one.error is None) for one in rest.run()] == points[4:]
    assert rest.progress.known_count == 4


def test_sweep_of_which_everything_is_known_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = Sweep(tmp_path / "whole", RecordedSweep()).run()
    rest = Sweep(tmp_path / "whole", RecordedSweep(), known=tuple(whole))
    assert rest.run() == []
    assert rest.tools.calls == []


def test_sweep_that_was_killed_before_model_analyzer_s_report_has_it_made_from_the_answers(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = Sweep(tmp_path / "whole", RecordedSweep()).run()
    (tmp_path / "rest").mkdir()
    rest = Sweep(tmp_path / "rest", RecordedSweep(), known=tuple(whole))
    assert rest.run() == []
    assert len(rest.tools.calls) == 1
    assert list((tmp_path / "rest" / "reports").rglob("metrics-model-inference.csv"))


def test_point_during_which_the_clock_was_set_is_a_failed_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SetClock(WallClock):
        def step_ms(self) -> float:
            return -2000.0

    monkeypatch.setattr("hcopt.measure.model_analyzer.follower.WallClock", SetClock)
    with pytest.raises(ProfileError, match="the system's clock was set by -2000 ms"):
        Sweep(tmp_path, RecordedSweep()).run()


def test_reports_that_were_read_are_gone_before_the_next_point(tmp_path: Path) -> None:
    left: list[int] = []

    def play(call: fakes.Call) -> Finished:
        captures = fakes.host_path(yaml.safe_load(call.file("--config-file").read_text())["perf_analyzer_path"])

        def say(line: str) -> None:
            assert call.on_line is not None
            call.on_line(line)
            left.append(len(list((captures.parent / "captures").iterdir())))

        return RecordedSweep()(replace(call, on_line=say))

    Sweep(tmp_path, play).run()
    # The one of the point that is under way, and the empty one of a perf_analyzer that was killed before it.
    assert max(left) <= 2


ENDED = Finished(returncode=1, elapsed_s=1.0)


def test_two_deaths_in_a_row_at_one_point_cost_no_other_point(tmp_path: Path) -> None:
    died = fakes.ends(ENDED)
    for name in ("disturbed", "quiet"):
        (tmp_path / name).mkdir()
    disturbed = Sweep(tmp_path / "disturbed", died, plays=(died, RecordedSweep()))
    quiet = Sweep(tmp_path / "quiet", RecordedSweep())
    outcomes = [
        {point: one.error for point, one in (sweep.run(), sweep.by_point())[1].items()} for sweep in (disturbed, quiet)
    ]
    assert outcomes[0] == outcomes[1]


def test_third_death_in_a_row_without_a_measurement_is_the_reason_of_the_rest(tmp_path: Path) -> None:
    died = fakes.ends(ENDED)
    with pytest.raises(ProfileError, match="without one measurement"):
        Sweep(tmp_path, died, plays=(died, died, RecordedSweep())).run()


def test_memory_of_a_point_is_what_was_seen_until_its_report(tmp_path: Path) -> None:
    def play(call: fakes.Call) -> Finished:
        captures = fakes.host_path(yaml.safe_load(call.file("--config-file").read_text())["perf_analyzer_path"]).parent
        for concurrency, next_mb in ((2, 900.0), (4, 1200.0)):
            call.say(f"[Model Analyzer] Profiling {MODEL_NAME}_config_default: concurrency={concurrency}")
            report = captures / "captures" / f"{concurrency}.csv"
            report.write_text((DATA / "captures" / f"default_{concurrency}.csv").read_text())
            os.utime(report, (time.time(), time.time()))
            # The next variant is loaded beside this one before Model Analyzer tells of the next point.
            sweep.server.held_mb = next_mb
        return fakes.WELL

    sweep = Sweep(tmp_path, play, held_mb=300.0)
    before = threading.active_count()
    sweep.run()
    measured = {one.load.concurrency: one.server_memory_mb for one in sweep.recorded if one.error is None}
    assert measured == {2: 300.0, 4: 900.0}
    assert threading.active_count() == before


def test_memory_is_no_longer_looked_at_when_the_sweep_is_broken_off(tmp_path: Path) -> None:
    def play(call: fakes.Call) -> Finished:
        call.say(f"[Model Analyzer] Profiling {MODEL_NAME}_config_default: concurrency=2")
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        Sweep(tmp_path, play, held_mb=100.0).run()
    assert threading.active_count() == before


def test_variant_is_the_configuration_that_is_confirmed_and_delivered_by_its_name(tmp_path: Path) -> None:
    base = parse_text((DATA / "output_models" / f"{MODEL_NAME}_config_default" / "config.pbtxt").read_text())
    assert len(Sweep(tmp_path, RecordedSweep(), base=base).run()) == 10


def test_variant_that_would_be_measured_otherwise_than_it_is_confirmed_is_refused(tmp_path: Path) -> None:
    base = parse_text((DATA / "output_models" / f"{MODEL_NAME}_config_default" / "config.pbtxt").read_text())
    base.dynamic_batching.default_queue_policy.max_queue_size = 4
    base.optimization.eager_batching = True
    said = f"another dynamic_batching, optimization under the name {MODEL_NAME}_config_0 than hcopt"
    with pytest.raises(ProfileError, match=said):
        Sweep(tmp_path, RecordedSweep(), base=base).run()
