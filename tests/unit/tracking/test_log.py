from __future__ import annotations

import logging
import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from hcopt.config.sections import Config, S3Section
from hcopt.errors import OutputError
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import OutputDifference
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity, Estimate, Feasibility, Noise
from hcopt.services.mlflow import mlflow_session
from hcopt.system.redaction import without_credentials
from hcopt.tracking.charts import chart_images
from hcopt.tracking.log import log_run, promote
from hcopt.tracking.note import run_note
from hcopt.tracking.registry import default_tracking_uri, resolve_tracking
from hcopt.tracking.values import (
    MetricPoint,
    epoch_ms,
    failure_text,
    run_metrics,
    run_params,
    run_tags,
    span_ms,
    variant_metrics,
    variant_params,
    version_tags,
)
from hcopt.words import Language
from tests.support.records import (
    HEAVY,
    LIGHT,
    MODEL_NAME,
    RUN_ID,
    default_variant,
    measurement,
    model_alone,
    model_artifact,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.reports import drawn_once
from tests.support.variant_records import INT8_SHA256, variant_record

BEST = f"{MODEL_NAME}_config_6"
HALF_FAILED = f"{MODEL_NAME}_config_7"


def values(run: RunRecord) -> dict[str, float]:
    return {point.key: point.value for point in run_metrics(run)}


def taken(run: RunRecord, name: str) -> list[Measurement]:
    return [m for m in run.measurements if m.variant.config_name == name]


def metrics_of(run: RunRecord, name: str) -> list[MetricPoint]:
    return variant_metrics(run.plan, taken(run, name))


def test_run_params_hold_sweep_limit_model_environment_and_settings() -> None:
    params = run_params(run_record())
    assert params["sweep.max_batch_size"] == "8, 16"
    assert params["sweep.max_queue_delay_us"] == "0, 500"
    assert params["sweep.concurrency"] == "8, 32"
    assert params["constraints.latency_p99_ms"] == "50.0"
    assert params["model.source_uri"] == f"models:/{MODEL_NAME}@prod"
    assert params["environment.backend"] == "onnxruntime (Python-based)"
    assert (params["best.config_name"], params["best.instance_count"], params["best.concurrency"]) == (BEST, "2", "32")
    assert params["default.max_batch_size"] == "16"
    assert "environment.governor" not in params, "what is not known is left out"


def test_run_params_keep_swept_parameters_under_keys_that_mlflow_takes() -> None:
    variant = replace(default_variant(), parameters=(("odd key: §", "1"),))
    run = run_record()
    params = run_params(replace(run, plan=replace(run.plan, variants=(variant, *run.plan.variants))))
    assert params["sweep.parameters.odd key_ _"] == "1, None"


def test_run_metrics_hold_figures_with_their_bounds_and_counts() -> None:
    found = values(run_record())
    assert found["best.throughput_infer_per_s"] == 6438.0
    assert found["best.throughput_infer_per_s.ci_low"] == 6352.1
    assert found["default.latency_p99_ms.ci_high"] == 10.10
    assert found["improvement.throughput_ratio"] == 1.300
    assert (found["measurements.done"], found["measurements.failed"]) == (41, 1)
    assert found["elapsed_s"] == pytest.approx(4.2 + 6.9 + 148.3 + 71.5)


def test_run_metrics_leave_out_what_is_no_number() -> None:
    run = run_record()
    improvement = run.confirmation.improvement
    assert improvement is not None
    bad = replace(
        improvement, throughput_ratio=Estimate(estimate=1.3, ci_low=float("nan"), ci_high=float("inf")), p_value=1.0
    )
    found = values(replace(run, confirmation=replace(run.confirmation, improvement=bad)))
    assert found["improvement.throughput_ratio"] == 1.3
    assert "improvement.throughput_ratio.ci_low" not in found
    assert "improvement.throughput_ratio.ci_high" not in found


def test_run_without_feasible_configuration_has_no_best_figures() -> None:
    run = no_feasible_config_record()
    assert not [key for key in values(run) if key.startswith(("best.", "improvement."))]
    assert "best.config_name" not in run_params(run)
    assert "hcopt.best_config_name" not in run_tags(run)
    tags = version_tags(run, "abc")
    assert tags["hcopt.verdict"] == "no_feasible_config"
    assert "hcopt.throughput_infer_per_s" not in tags


def test_variant_metrics_have_concurrency_as_step_in_the_sweep_and_block_in_the_confirmation() -> None:
    points = metrics_of(run_record(), BEST)
    sweep = {point.step: point.value for point in points if point.key == "throughput_infer_per_s"}
    assert sweep == {8: 4210.7, 32: 6514.0}
    blocks = [point.step for point in points if point.key == "confirmation.latency_p99_ms"]
    assert blocks == list(range(8))
    assert not [point for point in points if point.key == "latency_p50_ms"], "Model Analyzer does not say the median"


def test_variant_metrics_tell_client_batches_apart_where_there_are_several() -> None:
    run = run_record()
    loads = (*run.plan.loads, LoadPoint(concurrency=8, client_batch_size=4))
    points = metrics_of(replace(run, plan=replace(run.plan, loads=loads)), BEST)
    assert {point.key for point in points if point.key.endswith("throughput_infer_per_s")} == {
        "client_batch_1.throughput_infer_per_s",
        "confirmation.client_batch_1.throughput_infer_per_s",
    }


def test_variant_failure_names_the_load_and_the_reason() -> None:
    run = run_record()
    assert str(failure_text(taken(run, HALF_FAILED))).startswith("concurrency 32: perf_analyzer gave no result")
    assert failure_text(taken(run, BEST)) is None
    assert [point.step for point in metrics_of(run, HALF_FAILED) if point.key == "throughput_infer_per_s"] == [8]


def test_variant_params_hold_its_settings() -> None:
    assert variant_params(replace(default_variant(), parameters=(("intra_op_thread_count", "2"),))) == {
        "config_name": f"{MODEL_NAME}_config_default",
        "max_batch_size": "16",
        "instance_count": "1",
        "max_queue_delay_us": "0",
        "model_file": "model.onnx",
        "execution_accelerator": "none",
        "dynamic_batching": "true",
        "parameters.intra_op_thread_count": "2",
    }


def test_variant_span_is_from_its_first_beginning_to_its_last_end() -> None:
    run = run_record()
    start = epoch_ms(run.started_at)
    assert span_ms(taken(run, BEST), run.started_at) == (start, start + 1000)
    assert span_ms([], run.started_at) == (start, start)


def test_version_tags_say_how_to_serve_and_how_sure_that_is() -> None:
    tags = version_tags(run_record(), "abc")
    assert tags["hcopt.run_id"] == RUN_ID
    assert tags["hcopt.mlflow_run_id"] == "abc"
    assert tags["hcopt.verdict"] == "better"
    assert tags["hcopt.best_config_name"] == BEST
    assert tags["hcopt.throughput_infer_per_s"] == "6438"
    assert tags["hcopt.latency_p99_ms"] == "7.96"
    assert tags["hcopt.throughput_ratio"] == "1.3"


def evidence_record() -> RunRecord:
    """With all that the stages of evidence hand on: noise, open-loop check, the default also at the best one's load."""
    run = run_record()
    found = run.confirmation
    assert found.default is not None and found.improvement is not None and found.best is not None
    default = replace(found.default, load=LIGHT)
    confirmation = replace(found, default=default, default_at_best_load=found.default, equal_load=found.improvement)
    own_load = [
        replace(m, load=LIGHT, started_at="2026-11-23T01:05:00+00:00")
        for m in run.measurements
        if m.phase == "confirmation" and m.variant == default_variant()
    ]
    window = measurement(found.best.variant, HEAVY, (4000.0, 9.0), phase="open_loop", miss_count=3)
    open_loop = [
        replace(window, block=block, load=LoadPoint(request_rate_per_s=rate), throughput_infer_per_s=rate)
        for rate in (4000.0, 5000.0)
        for block in range(2)
    ]
    warm_up = measurement(default_variant(), HEAVY, (4900.0, 9.9), phase="noise")
    return replace(
        run,
        confirmation=confirmation,
        measurements=(*run.measurements, *own_load, *open_loop, warm_up, replace(warm_up, block=0)),
        noise=Noise(
            load=HEAVY,
            block_count=6,
            window_s=3.0,
            block_sd_ratio=0.031,
            pair_sd_ratio=0.04,
            resolvable_ratio=0.052,
            planned_blocks=8,
            exceeded=("steal", "variation"),
        ),
        capacity=Capacity(
            config_name=BEST,
            sustainable_rate_infer_per_s=Estimate(estimate=5000.0, ci_low=4800.0),
            boundary_infer_per_s=Estimate(estimate=5100.0, ci_low=4700.0),
            latency_p99_limit_ms=50.0,
            client_batch_size=1,
            seed=0,
        ),
    )


def test_run_metrics_hold_misses_equal_load_capacity_and_noise() -> None:
    found = values(evidence_record())
    assert (found["best.miss_ratio"], found["best.miss_ratio.ci_high"]) == (0.001, 0.002)
    assert found["equal_load.throughput_ratio.ci_low"] == 1.276
    assert found["default_at_best_load.throughput_infer_per_s"] == 4951.0
    promised = float(version_tags(evidence_record(), "abc")["hcopt.sustainable_rate_infer_per_s"])
    assert found["capacity.sustainable_rate_infer_per_s"] == promised == 4800.0
    assert found["capacity.sustainable_rate_infer_per_s.ci_low"] == 4800.0
    assert found["capacity.sustainable_rate_infer_per_s.estimate"] == 5000.0
    assert (found["capacity.boundary_infer_per_s"], found["capacity.boundary_infer_per_s.ci_low"]) == (5100.0, 4700.0)
    assert "capacity.sustainable_rate_infer_per_s.ci_high" not in found, "no rate was found that fails"
    assert (found["noise.resolvable_ratio"], found["noise.window_s"]) == (0.052, 3.0)
    assert "noise.max_steal_ratio" not in found, "not known"


def test_run_metrics_hold_what_triton_costs() -> None:
    found = values(run_record(alone=model_alone()))
    assert (found["onnxruntime_alone.request_ms"], found["onnxruntime_alone.model_ms"]) == (2.1, 0.6)
    assert (found["onnxruntime_alone.model_ratio.ci_low"], found["onnxruntime_alone.queue_ms"]) == (0.27, 0.51)
    assert not [key for key in values(run_record()) if key.startswith("onnxruntime_alone")]


def test_both_sides_of_what_triton_costs_have_metrics_of_their_own() -> None:
    """They have variant, load and block in common."""
    one = replace(run_record().measurements[0], phase="onnxruntime_alone", block=0)
    own = [replace(one, profiler=profiler) for profiler in ("perf_analyzer", "onnxruntime")]
    keys = [point.key for point in variant_metrics(run_record().plan, own)]
    assert len(keys) == len(set(keys))
    assert "onnxruntime_alone.onnxruntime.latency_p99_ms" in keys


def test_run_metrics_hold_the_memory_that_each_finalist_needs() -> None:
    found = run_record().confirmation
    assert found.best is not None
    best = replace(found.best, memory_mb=412.4)
    metrics = values(run_record(confirmation=replace(found, best=best)))
    assert metrics["best.memory_mb"] == 412.4
    assert "default.memory_mb" not in metrics, "not known"


def test_run_metrics_begin_with_the_answer() -> None:
    assert next(iter(values(run_record()))) == "improvement.throughput_ratio"


def test_default_that_misses_the_limit_gives_no_ratio() -> None:
    run = run_record()
    assert run.confirmation.default is not None
    late = replace(run.confirmation.default, feasibility="infeasible")
    run = replace(run, confirmation=replace(run.confirmation, default=late))
    assert not [key for key in values(run) if key.startswith("improvement.")]
    assert "hcopt.throughput_ratio" not in version_tags(run, "abc")


def test_variant_metrics_of_the_open_loop_check_have_the_rate_as_step() -> None:
    points = metrics_of(evidence_record(), BEST)
    assert [(p.step, p.value) for p in points if p.key == "open_loop.throughput_infer_per_s"] == [
        (4000, 4000.0),
        (4000, 4000.0),
        (5000, 5000.0),
        (5000, 5000.0),
    ]
    assert {p.value for p in points if p.key == "open_loop.miss_count"} == {3.0}


def test_variant_metrics_tell_the_loads_of_the_confirmation_apart() -> None:
    points = metrics_of(evidence_record(), default_variant().config_name)
    for load in (8, 32):
        key = f"confirmation.concurrency_{load}.throughput_infer_per_s"
        assert [point.step for point in points if point.key == key] == list(range(8))
    assert [point.step for point in points if point.key == "noise.throughput_infer_per_s"] == [0], "no warm-up"


def test_failure_of_the_open_loop_check_names_the_rate() -> None:
    run = run_record()
    failed = replace(run.measurements[-1], throughput_infer_per_s=None, latency=None, error="lagged")
    failed = replace(failed, load=LoadPoint(request_rate_per_s=1250.5), phase="open_loop")
    failure = failure_text([failed])
    assert failure == "1250.5 requests/s: lagged"


def test_tags_say_verdict_limit_noise_and_rate() -> None:
    tags = run_tags(evidence_record())
    assert (tags["hcopt.verdict"], tags["hcopt.feasibility"]) == ("better", "feasible")
    assert tags["hcopt.noise_exceeded"] == "steal, variation"
    assert "hcopt.noise_exceeded" not in run_tags(run_record(noise=None)), "it was not measured"
    version = version_tags(evidence_record(), "abc")
    assert (version["hcopt.feasibility"], version["hcopt.sustainable_rate_infer_per_s"]) == ("feasible", "4800")


def test_note_shows_default_beside_best_and_the_command() -> None:
    note = run_note(run_record())
    assert note.startswith("**better**: Against the default: throughput ratio 1.302 (95 % interval 1.254 to 1.352)")
    assert r"| configuration | &emsp;config\_default | &emsp;config\_6 |" in note
    assert r"| throughput (infer/s) | &emsp;4,951 \[4,885, 5,017\] | &emsp;6,438 \[6,352, 6,524\] |" in note
    assert "| limit (at most 1%) | &emsp;holds | &emsp;holds |" in note
    assert note.endswith("```sh\nhcopt profile --config config.yaml\n```")


def test_note_calls_an_unproven_configuration_a_candidate() -> None:
    assert "&emsp;candidate |" in run_note(undecided_record())


def test_note_shows_the_closest_beside_the_default_where_nothing_keeps_the_limit() -> None:
    note = run_note(no_feasible_config_record())
    assert "&emsp;default | &emsp;closest to the limit |" in note
    assert "| limit (at most 1%) | &emsp;missed | &emsp;missed |" in note


def test_note_of_odd_names_is_no_markup() -> None:
    run = run_record()
    found = replace(run.confirmation, reason=Note.of("error", message="a | b *c* <i>"))
    note = run_note(replace(run, confirmation=found, command="hcopt ``` x"))
    assert r"a \| b \*c\* \<i\>" in note
    assert note.endswith("````sh\nhcopt ``` x\n````")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("record", [run_record(), undecided_record(), no_feasible_config_record()])
def test_charts_are_opaque_png_images(language: Language, record: RunRecord) -> None:
    images = chart_images(record, language)
    assert {"pair", "sweep"} <= set(images)
    for content in images.values():
        image = Image.open(BytesIO(content)).convert("RGBA")
        assert min(image.size) > 200
        assert image.getpixel((0, 0)) == (255, 255, 255, 255)


def test_charts_that_a_report_has_shown_are_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_record()
    drawn = drawn_once(run, "en")
    before = chart_images(run, "en")
    monkeypatch.setattr("hcopt.report.render.drawings.drawn_charts", lambda *_, **__: pytest.fail("drawn again"))
    assert chart_images(run, "en", drawn) == before


def test_run_in_which_nothing_was_measured_has_no_charts() -> None:
    run = run_record()
    assert chart_images(replace(run, ranking=replace(run.ranking, ranked=())), "en") == {}


@pytest.mark.parametrize(
    "timestamp", ["2026-11-23T01:02:03+00:00", "2026-11-23T01:02:03Z", "2026-11-23T02:02:03+01:00"]
)
def test_epoch_is_the_same_for_every_way_to_write_a_time(timestamp: str) -> None:
    assert epoch_ms(timestamp) == 1795395723000


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://user:pass@host:5000/x", "http://host:5000/x"),
        ("postgresql://u:p@ss@db/mlflow failed", "postgresql://db/mlflow failed"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_credentials_are_taken_out_of_urls(text: str, clean: str) -> None:
    assert without_credentials(text) == clean


def test_tracking_is_the_configured_one_else_sqlite_under_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configured = Config.model_validate({"mlflow": {"tracking_uri": "http://mlflow:5000"}})
    store = resolve_tracking(configured, Path("results"))
    assert (store.tracking_uri, store.configured) == ("http://mlflow:5000", True)
    store = resolve_tracking(Config(), Path("results"))
    assert (store.tracking_uri, store.configured) == (default_tracking_uri(Path("results")), False)
    assert store.tracking_uri == f"sqlite:///{tmp_path}/results/mlflow/mlflow.db"


def test_session_leaves_environment_and_loggers_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody-elses:5000")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    environment, level = dict(os.environ), logging.root.manager.disable
    s3 = S3Section(endpoint_url="http://minio:9000", region="eu-west-1")
    uri = f"sqlite:///{tmp_path}/deep/mlflow.db"
    with mlflow_session(uri, error=OutputError, config=Config(s3=s3), writes=True) as client:
        assert client.search_registered_models() == []
        assert os.environ["MLFLOW_TRACKING_URI"] == uri
        assert os.environ["MLFLOW_S3_ENDPOINT_URL"] == "http://minio:9000"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5", "what the user set is kept"
    assert dict(os.environ) == environment
    assert logging.root.manager.disable == level


def test_session_keeps_login_out_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot reach MLflow at http://127\.0\.0\.1:1: ") as caught,
        mlflow_session("http://user:p%40ss@127.0.0.1:1", error=OutputError),
    ):
        pytest.fail("nobody listens on port 1")
    assert "p@ss" not in str(caught.value.__cause__)
    assert "p%40ss" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:////proc/nowhere/mlflow.db", "No such file or directory"),
        ("mysql+nosuchdriver://u:hunter2@127.0.0.1:1/db", "Can't load plugin"),
        ("ftp://user:hunter2@host", "unsupported URI"),
        ("http://no host", "this is not a URL"),
    ],
)
def test_logging_to_what_is_no_mlflow_says_so_and_how_to_log_later(tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(OutputError, match=said) as caught:
        log_run(run_record(), tracking_uri=uri, experiment="hcopt", artifacts=tmp_path)
    assert caught.value.exit_code == 7
    assert f"hcopt log {RUN_ID}" in str(caught.value.remedy)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("record", [tied_record(), undecided_record(), no_feasible_config_record()])
def test_promotion_does_nothing_without_the_verdict_better(record: RunRecord) -> None:
    said = promote(record, "prod", tracking_uri="http://127.0.0.1:1")
    assert said.startswith("no version got the alias prod: the verdict is ")


@pytest.mark.parametrize("feasibility", ["undecided", "infeasible"])
def test_promotion_does_nothing_where_the_limit_is_not_shown_to_hold(feasibility: Feasibility) -> None:
    run = run_record()
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, feasibility=feasibility)
    run = replace(run, confirmation=replace(run.confirmation, best=best))
    said = promote(run, "prod", tracking_uri="http://127.0.0.1:1")
    assert said == "no version got the alias prod: the best is not shown to keep the latency limit"


def test_promotion_of_a_model_from_no_registry_is_refused() -> None:
    run = run_record(model=model_artifact(registered_version=None, source_uri="s3://bucket/model.onnx"))
    with pytest.raises(OutputError, match="no version in a registry"):
        promote(run, "prod", tracking_uri="http://127.0.0.1:1")


def test_version_gets_no_alias_for_a_variant_which_is_another_file() -> None:
    said = promote(variant_record(), "prod", tracking_uri="http://127.0.0.1:1")
    assert said == "no version got the alias prod: the best serves the variant int8, which is another file"


def test_outputs_of_any_name_have_keys_that_mlflow_takes() -> None:
    run = variant_record()
    odd = replace(run.model.variants[0], outputs=(OutputDifference(output="a//b:" + 300 * "c", agreement_ratio=1.0),))
    run = replace(run, model=replace(run.model, variants=(odd,)))
    (key,) = [point.key for point in run_metrics(run) if point.key.startswith("variants.")]
    assert key == f"variants.int8.a__b_{95 * 'c'}.agreement_ratio"


def test_parameters_and_metrics_have_the_variants() -> None:
    run = variant_record()
    params, metrics = run_params(run), {point.key: point.value for point in run_metrics(run)}
    assert params["model.variants.int8"] == f"quantize: dynamic, sha256 {INT8_SHA256}"
    assert params["model.variants.far"].startswith("The variant far (far.onnx) is not measured: on 200 of the 200 rows")
    assert (params["best.model_file"], params["sweep.model_file"]) == ("int8.onnx", "model.onnx, int8.onnx")
    assert metrics["variants.int8.output.max_difference_ratio"] == pytest.approx(0.025)
    assert metrics["variants.far.output.max_difference_ratio"] == 0.5
    assert metrics["variants.int8.label.agreement_ratio"] == 0.995
    assert "99.50% of the labels" in run_tags(run)["mlflow.note.content"]
