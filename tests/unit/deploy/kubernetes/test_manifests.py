"""Manifests: the schemas of Kubernetes, golden files, and where each number comes from."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hcopt.deploy.capacity import parse_growth
from hcopt.deploy.kubernetes.envelope import validity_envelope
from hcopt.deploy.kubernetes.manifests import render, write_manifests
from hcopt.deploy.kubernetes.options import Autoscaler, Options, parse_node_selector
from hcopt.deploy.kubernetes.plan import Plan, plan_deployment
from hcopt.deploy.scaling import Scaling
from hcopt.errors import ConfigError, OutputError
from hcopt.job.summary import summarize
from hcopt.model.named_files import NAMED_FOLDER
from hcopt.model.triton_config import parse_text
from hcopt.records.measurement import Backend
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from tests.support.planned_run import capacity, native_environment, planned_record
from tests.support.traced import Trace, lookup, outside_of_blocks
from tests.support.variant_records import INT8_SHA256, variants

GOLDEN = Path(__file__).parents[3] / "data" / "kubernetes"
COMMAND = "hcopt kubernetes results --peak 500000 --base 60000"
NATIVE_KINDS = {"Deployment", "ConfigMap", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
# The oldest and the newest Kubernetes that kubernetes-validate knows, which these fields are in.
VERSIONS = ("1.27", "1.37")
AUTOSCALERS: tuple[Autoscaler, ...] = ("hpa", "keda")


def options(**changes: Any) -> Options:
    given = {"base_infer_per_s": 60_000.0, "peak_infer_per_s": 500_000.0, "growth_text": "2x/10m", **changes}
    return Options(growth=parse_growth(given["growth_text"]), **given)


def plan(record: RunRecord | None = None, **changes: Any) -> Plan:
    return plan_deployment(record or planned_record(), options(**changes), command=COMMAND)


def measured_record(**changes: Any) -> RunRecord:
    """A run in Docker whose golden configuration sets its threads: what a Deployment can keep to."""
    record = planned_record(environment=native_environment(), **changes)
    best = record.confirmation.best
    assert best is not None
    fixed: ModelConfigVariant = replace(best.variant, parameters=(("intra_op_thread_count", "1"),))
    return replace(record, confirmation=replace(record.confirmation, best=replace(best, variant=fixed)))


def objects(autoscaler: Autoscaler = "hpa", record: RunRecord | None = None, **changes: Any) -> dict[str, Any]:
    """The rendered files, parsed, by kind."""
    files = render(plan(record, **changes), autoscaler)
    parsed = {name: yaml.safe_load(text) for name, text in files.items()}
    return {found.get("kind", name): found for name, found in parsed.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_manifests_fit_the_schemas_of_kubernetes(autoscaler: Autoscaler, version: str) -> None:
    found = objects(autoscaler)
    checked = {kind for kind in found if kind in NATIVE_KINDS}
    for kind in checked:
        kubernetes_validate.validate(found[kind], version, strict=True)
    assert checked == (NATIVE_KINDS if autoscaler == "hpa" else NATIVE_KINDS - {"HorizontalPodAutoscaler"})


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_manifests_are_the_golden_ones(autoscaler: Autoscaler) -> None:
    rendered = render(plan(), autoscaler)
    folder = GOLDEN / autoscaler
    assert sorted(rendered) == sorted(path.name for path in folder.iterdir())
    for name, text in rendered.items():
        assert text == (folder / name).read_text(encoding="utf-8"), f"tests/data/kubernetes/{autoscaler}/{name}"


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_every_number_has_a_comment(autoscaler: Autoscaler) -> None:
    for name, text in render(plan(), autoscaler).items():
        for line in outside_of_blocks(text):
            value = line.split("  #")[0].split(": ", 1)[-1].strip().strip('"')
            if re.fullmatch(r"-? ?(--[a-z-]+=)?[0-9]+(\.[0-9]+)?(Mi|s|m)?", value):
                assert "  # " in line, f"{name}: {line.strip()} does not say where it comes from"


OPTIONS = {
    "--base": 60_000,
    "--peak": 500_000,
    "--scrape-interval": 15,
    "--rate-window": 60,
    "--memory": 2048,
    "--horizontal-pod-autoscaler-sync-period": 15,
    "--horizontal-pod-autoscaler-tolerance": 0.1,
}


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
@pytest.mark.parametrize("elapsed_s", [{"serve": 6.9, "load": 1.3}, {"serve": 31.123456789, "load": 0.0}])
def test_every_number_is_what_its_comment_says_in_summary_json(
    autoscaler: Autoscaler, elapsed_s: dict[str, float]
) -> None:
    record = planned_record(elapsed_s=elapsed_s)
    summary = summarize(record, tracking=None)
    trace = Trace(summary=summary, options=OPTIONS)
    for text in render(plan(record), autoscaler).values():
        trace.check(text)
    assert {"C", "T", "τ", "g", "base", "peak", "limit", "rows", "start"} <= set(trace.facts)
    assert {line.split(":")[0].split("=")[0] for line in trace.traced} >= {
        *({"minReplicas", "maxReplicas", "averageValue"} if autoscaler == "hpa" else {"minReplicaCount", "threshold"}),
        *("cpu", "memory", "failureThreshold", "stabilizationWindowSeconds", "- --grpc-max-connection-age", "interval"),
    }


def with_memory(record: RunRecord, memory_mb: float) -> RunRecord:
    best = record.confirmation.best
    assert best is not None
    return replace(record, confirmation=replace(record.confirmation, best=replace(best, memory_mb=memory_mb)))


@pytest.mark.parametrize(
    ("record", "memory", "remark"),
    [
        # 1.5 · 412.4 = 618.6, and 512 more where the image is another server than the measured one.
        pytest.param(with_memory(measured_record(), 412.4), "640Mi", "with a margin", id="measured"),
        pytest.param(with_memory(planned_record(), 412.4), "1152Mi", "are assumed", id="embedded"),
        pytest.param(planned_record(), "2048Mi", "not measured", id="not measured"),
    ],
)
def test_memory_is_what_was_measured_with_a_margin(record: RunRecord, memory: str, remark: str) -> None:
    text = render(plan(record), "hpa")["deployment.yaml"]
    lines = [line for line in text.splitlines() if f"memory: {memory}  # " in line and remark in line]
    assert len(lines) == 2
    Trace(summary=summarize(record, tracking=None), options=OPTIONS).check(text)


def test_memory_that_the_user_gives_counts() -> None:
    found = objects(record=with_memory(planned_record(), 412.4), memory_mb=777)
    resources = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"] == "777Mi"


def test_number_that_is_not_what_its_comment_says_is_found() -> None:
    text = render(plan(), "hpa")["hpa.yaml"]
    summary = summarize(planned_record(), tracking=None)
    for right, wrong in (("minReplicas: 16", "minReplicas: 17"), ("C = 5800 ", "C = 5801 ")):
        with pytest.raises(AssertionError, match=wrong):
            Trace(summary=summary, options=OPTIONS).check(text.replace(right, wrong))


def test_config_map_names_the_keys_of_its_figures() -> None:
    text = render(plan(), "hpa")["configmap.yaml"]
    summary = summarize(planned_record(), tracking=None)
    named = re.findall(r"summary\.json: (\S+) = (\d+)", text)
    assert {key.rpartition(".")[2] for key, _ in named} == {
        "max_batch_size",
        "instance_count",
        "max_queue_delay_us",
        "cpu_count",
    }
    assert all(lookup(summary, key) == float(value) for key, value in named)


def test_figures_of_the_autoscaler_by_hand() -> None:
    spec = objects()["HorizontalPodAutoscaler"]["spec"]
    # τ = 15 + 60 + 15 + (7 + 20 + 30) = 147 s; T = 5800 / (1.1 · (1 + 147 / 600)) = 4235.1
    assert spec["metrics"][0]["pods"]["target"] == {"type": "AverageValue", "averageValue": "4235"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (16, 120)
    # 5800 · 0.05 / ln 100 = 62.97
    assert spec["metrics"][1]["pods"]["target"]["averageValue"] == "63"


def test_pod_is_guaranteed_with_whole_cpus_in_every_container() -> None:
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert int(resources["limits"]["cpu"]) >= 1


def test_config_map_holds_the_golden_configuration_with_threads_and_warm_up() -> None:
    text = objects()["ConfigMap"]["data"]["config.pbtxt"]
    config, golden = parse_text(text), parse_text(planned_record().best_config_pbtxt or "")
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert [sample.batch_size for sample in config.model_warmup] == [1, 8]
    del config.model_warmup[:]
    config.parameters.clear()
    assert config == golden


def test_threads_that_were_measured_stay() -> None:
    record = measured_record()
    pinned = (record.best_config_pbtxt or "") + (
        'parameters { key: "intra_op_thread_count" value { string_value: "1" } }'
    )
    found = objects(record=replace(record, best_config_pbtxt=pinned))
    config = parse_text(found["ConfigMap"]["data"]["config.pbtxt"])
    assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_open_dimensions_are_not_warmed_up() -> None:
    record = planned_record()
    text = (record.best_config_pbtxt or "").replace("dims: 10", "dims: -1")
    found = objects(record=replace(record, best_config_pbtxt=text))
    assert not parse_text(found["ConfigMap"]["data"]["config.pbtxt"]).model_warmup


def test_deployment_marks_what_is_assumed() -> None:
    annotations = objects()["Deployment"]["metadata"]["annotations"]
    claims = {claim: annotations[f"hcopt/{claim}"] for claim in ("golden", "capacity", "linearity")}
    assert claims == {"golden": "assumed", "capacity": "assumed", "linearity": "assumed"}
    assert "onnxruntime (Python-based)" in annotations["hcopt/validity-envelope"]
    assert "native backend" in annotations["hcopt/assumed"]


def test_claims_of_hcopts_native_backend_say_so() -> None:
    record = measured_record()
    backend = Backend(name="onnxruntime", implementation="hcopt-native")
    embedded = replace(record.environment, backend=backend, triton_version="2.51.0", server_image=None)
    own = replace(record, environment=replace(embedded, onnxruntime_version="1.32.0"))
    given = options(node_cpu=record.environment.cpu_model, exclusive_cpus=True)
    annotations = yaml.safe_load(
        render(plan_deployment(own, given, command=COMMAND, scaling=None, strict=False), "hpa")["deployment.yaml"]
    )["metadata"]["annotations"]
    assert annotations["hcopt/capacity"] == annotations["hcopt/golden"] == "measured on hcopt's native backend"
    assert annotations["hcopt/linearity"] == "assumed"
    assert "backend" not in annotations["hcopt/assumed"]
    assert "onnxruntime: 1.32.0 (the deployed image has its own)" in annotations["hcopt/validity-envelope"]


def test_settings_that_hcopts_native_backend_alone_takes_leave_nothing_measured() -> None:
    record = measured_record()
    own = replace(record.environment, backend=Backend(name="onnxruntime", implementation="hcopt-native"))
    given = options(node_cpu=record.environment.cpu_model, exclusive_cpus=True)

    def stands(setting: str) -> str:
        text = f"{record.best_config_pbtxt}\n{setting}"
        changed = replace(record, environment=own, best_config_pbtxt=text)
        return plan_deployment(changed, given, command=COMMAND, scaling=None, strict=False).stands("golden")

    parameter = 'parameters {{ key: "session.{}" value {{ string_value: "0" }} }}'
    assert stands(parameter.format("intra_op.allow_spinning")) == "assumed"
    openvino = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
    assert stands(openvino) == "assumed"
    assert stands(parameter.format("use_device_allocator_for_initializers")) == "measured on hcopt's native backend"


def test_unknown_onnxruntime_is_called_so() -> None:
    record = measured_record()
    elsewhere = replace(record.environment, runtime="remote", server_image=None, onnxruntime_version=None)
    envelope = validity_envelope(replace(record, environment=elsewhere))
    assert envelope["onnxruntime"] == "not known (the deployed image has its own)"


def test_deployment_as_measured_assumes_nothing() -> None:
    record = measured_record()
    given = options(node_cpu=record.environment.cpu_model, exclusive_cpus=True)
    scaling = Scaling(servers=2, cpus_per_server=2, block_count=8, ratio=0.98, ci_low=0.95, ci_high=1.01)
    found = plan_deployment(record, given, command=COMMAND, scaling=scaling, strict=True)
    assert found.assumptions == ()
    deployment = yaml.safe_load(render(found, "hpa")["deployment.yaml"])
    assert deployment["metadata"]["annotations"]["hcopt/capacity"] == "measured"
    assert "hcopt/assumed" not in deployment["metadata"]["annotations"]
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == record.environment.server_image


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"cpus_per_server": 1}, "the pods have 2"), ({"ci_low": 0.6}, "not shown to be at least 0.9")],
)
def test_scaling_of_other_servers_or_not_shown_to_be_linear_stays_assumed(changes: dict[str, Any], said: str) -> None:
    linear = Scaling(servers=2, cpus_per_server=2, block_count=8, ratio=0.98, ci_low=0.95, ci_high=1.01)
    found = plan_deployment(planned_record(), options(), command=COMMAND, scaling=replace(linear, **changes))
    assert found.stands("linearity") == "assumed"
    assert said in found.assumptions[-1].said


def test_strict_refuses_what_was_not_measured() -> None:
    with pytest.raises(OutputError, match="native backend") as refused:
        plan_deployment(planned_record(), options(), command=COMMAND, strict=True)
    assert refused.value.exit_code == 7
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({"node_cpu": "AMD EPYC 9654"}, "cpu"),
        ({"node_cpu": None}, "cpu"),
        ({"exclusive_cpus": False}, "exclusive CPUs"),
        ({"image": "nvcr.io/nvidia/tritonserver:26.09-py3"}, "image"),
    ],
)
def test_each_condition_that_differs_is_named(changes: dict[str, Any], condition: str) -> None:
    record = measured_record()
    given = {"node_cpu": record.environment.cpu_model, "exclusive_cpus": True, **changes}
    found = plan_deployment(record, options(**given), command=COMMAND)
    assert [one.condition for one in found.assumptions] == [condition, "scaling"]


def test_undecided_run_leaves_the_golden_choice_assumed() -> None:
    record = measured_record()
    record = replace(record, confirmation=replace(record.confirmation, verdict="undecided"))
    given = options(node_cpu=record.environment.cpu_model, exclusive_cpus=True)
    found = plan_deployment(record, given, command=COMMAND)
    assert (found.stands("golden"), found.stands("capacity")) == ("assumed", "measured")


def test_run_without_capacity_is_refused() -> None:
    with pytest.raises(ConfigError, match="no sustainable rate"):
        plan(planned_record(capacity=None))


def test_image_that_only_one_engine_knows_has_to_be_given() -> None:
    local = replace(measured_record().environment, server_image="sha256:" + "cd" * 32)
    record = replace(measured_record(), environment=local)
    with pytest.raises(ConfigError, match="no image is known for Triton") as refused:
        plan(record)
    assert "--image" in (refused.value.remedy or "")
    found = plan(record, image="registry.example.com/triton:1", node_cpu=local.cpu_model, exclusive_cpus=True)
    assert [one.condition for one in found.assumptions] == ["image", "scaling"]


@pytest.mark.parametrize(
    ("image", "lacks"),
    [
        ("nvcr.io/nvidia/tritonserver:22.12-py3", "max-connection-age pending_request_count"),
        ("registry:5000/ml/tritonserver:23.08-py3@sha256:" + "ab" * 32, "max-connection-age pending_request_count"),
        ("mirror/triton:23.12", "max-connection-age"),
    ],
)
def test_image_whose_server_lacks_what_the_manifests_use_is_refused(image: str, lacks: str) -> None:
    with pytest.raises(ConfigError, match="too old for the manifests") as refused:
        plan(image=image)
    named = [word for word in ("max-connection-age", "pending_request_count") if word in refused.value.message]
    assert " ".join(named) == lacks
    assert "24.01" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    "image",
    [
        "nvcr.io/nvidia/tritonserver:24.01-py3",
        "nvcr.io/nvidia/tritonserver:26.09-py3",
        # Whatever these hold, their names do not say it.
        "registry:5000/tritonserver@sha256:" + "ab" * 32,
        "mirror/tritonserver:22.12.4",
        "mirror/tritonserver:20.99",
        "mirror/scoring:22.12",
    ],
)
def test_image_that_is_new_enough_or_of_no_known_age_is_taken(image: str) -> None:
    assert plan(image=image).image == image


@pytest.mark.parametrize(
    ("version", "fits"), [("2.29.0", False), ("2.41.0", False), ("2.42.0", True), ("2.73.0", True)]
)
def test_image_of_the_run_counts_by_its_triton(version: str, fits: bool) -> None:
    record = planned_record(environment=replace(native_environment(), triton_version=version))
    if fits:
        assert plan(record).image == record.environment.server_image
        return
    with pytest.raises(ConfigError, match="too old for the manifests"):
        plan(record)


def test_slow_model_gets_a_target_in_thousandths() -> None:
    slow = replace(capacity().sustainable_rate_infer_per_s, ci_low=1.0)
    found = objects(
        record=planned_record(capacity=capacity(sustainable_rate_infer_per_s=slow)),
        base_infer_per_s=1.0,
        peak_infer_per_s=9.0,
    )
    # 1 / (1.1 · 1.245) = 0.7302
    assert found["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["target"]["averageValue"] == "730m"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate_window_s": 20}, "two scrapes"),
        ({"name": "Not A Label"}, "--name"),
        ({"namespace": "UPPER"}, "--namespace"),
        ({"model_uri": "/tmp/model"}, "--model-uri"),
        ({"scrape_interval_s": 0}, "at least 1"),
        ({"peak_infer_per_s": 0.0, "base_infer_per_s": 0.0}, "no range of loads"),
        ({"peak_infer_per_s": float("nan")}, "no range of loads"),
        ({"peak_infer_per_s": float("inf")}, "no range of loads"),
        ({"base_infer_per_s": -1.0}, "no range of loads"),
        ({"image": "a b: #c"}, "--image"),
        ({"s3_endpoint_url": "minio"}, "--s3-endpoint-url"),
        ({"prometheus_url": " "}, "--prometheus-url"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        options(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"peak_infer_per_s": 1e30}, "at most 150,000"), ({"growth_text": "10000000x/1s"}, "less than Kubernetes can")],
)
def test_what_no_cluster_could_do_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        plan(**changes)
    assert refused.value.remedy


def test_texts_of_anybody_stay_one_value(tmp_path: Path) -> None:
    odd = "a CPU: of\n- two 'lines' # and \"more\""
    given = options(node_cpu=odd, model_uri='s3://bucket/a "folder" #1', s3_endpoint_url="http://minio:9000/?a=#b")
    found = plan_deployment(planned_record(), given, command=f"hcopt kubernetes --node-cpu {odd!s}")
    files = {name: yaml.safe_load(text) for name, text in render(found, "hpa").items()}
    assert (
        "a CPU: of - two 'lines' # and \"more\"" in files["deployment.yaml"]["metadata"]["annotations"]["hcopt/assumed"]
    )
    env = {
        one["name"]: one["value"]
        for one in files["deployment.yaml"]["spec"]["template"]["spec"]["initContainers"][0]["env"]
    }
    assert env["MODEL_URI"] == 's3://bucket/a "folder" #1/'
    assert env["AWS_ENDPOINT_URL_S3"] == "http://minio:9000/?a=#b"


def test_pods_go_to_the_class_of_nodes_that_was_named() -> None:
    selector = parse_node_selector(["node.kubernetes.io/instance-type=c7i.xlarge", "pool=yes"])
    pod = objects(node_selector=selector)["Deployment"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"node.kubernetes.io/instance-type": "c7i.xlarge", "pool": "yes"}
    assert "nodeSelector" not in objects()["Deployment"]["spec"]["template"]["spec"]
    with pytest.raises(ConfigError, match="--node-selector"):
        parse_node_selector(["a b=c"])


def test_pods_metrics_are_those_that_the_adapter_gives() -> None:
    found = objects()
    rules = found["prometheus-adapter-values.yaml"]["rules"]["custom"]
    given = {rule["name"]["as"] for rule in rules}
    asked = {metric["pods"]["metric"]["name"] for metric in found["HorizontalPodAutoscaler"]["spec"]["metrics"]}
    assert given == asked
    for rule in rules:
        # The fields of prometheus-adapter's docs/config.md.
        assert set(rule) == {"seriesQuery", "resources", "name", "metricsQuery"}
        assert rule["seriesQuery"].startswith(rule["name"]["matches"].strip("^$"))
        assert "<<.LabelMatchers>>" in rule["metricsQuery"]
        assert rule["metricsQuery"].endswith("by (<<.GroupBy>>)")


def test_service_monitor_finds_the_service() -> None:
    found = objects()
    monitor, service = found["ServiceMonitor"], found["Service"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_keda_asks_for_both_metrics_and_scales_the_deployment() -> None:
    found = objects("keda")
    spec = found["ScaledObject"]["spec"]
    assert found["ScaledObject"]["apiVersion"] == "keda.sh/v1alpha1"
    # The fields of KEDA's scaledobject-spec.md and scalers/prometheus.md.
    assert set(spec) == {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers", "advanced"}
    assert spec["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert [trigger["metadata"]["threshold"] for trigger in spec["triggers"]] == ["4235", "63"]
    for trigger in spec["triggers"]:
        assert trigger["metricType"] == "AverageValue"
        assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold", "ignoreNullValues"}
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == objects()["HorizontalPodAutoscaler"]["spec"]["behavior"]


def test_kustomization_lists_every_file_for_kubectl(tmp_path: Path) -> None:
    written = write_manifests(plan(), "hpa", tmp_path)
    listed = yaml.safe_load((tmp_path / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    names = {path.name for path in written}
    assert names == {*listed, "kustomization.yaml", "prometheus-adapter-values.yaml"}


def test_other_autoscaler_replaces_the_first(tmp_path: Path) -> None:
    write_manifests(plan(), "hpa", tmp_path)
    write_manifests(plan(), "keda", tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert "scaledobject.yaml" in left
    assert not left & {"hpa.yaml", "prometheus-adapter-values.yaml"}


def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "deploy").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write the manifests"):
        write_manifests(plan(), "hpa", tmp_path / "deploy")


def test_files_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    theirs = tmp_path / "deployment.yaml"
    theirs.write_text("kind: Deployment\n", encoding="utf-8")
    with pytest.raises(OutputError, match="not written by `hcopt kubernetes`"):
        write_manifests(plan(), "hpa", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["deployment.yaml"]
    assert theirs.read_text(encoding="utf-8") == "kind: Deployment\n"


@pytest.mark.parametrize("whole", [True, False])
def test_init_container_takes_only_the_model_that_was_measured(tmp_path: Path, whole: bool) -> None:
    files = {"model.onnx": b"graph", "the weights.bin": b"weights"}
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()
    record = planned_record()
    model = replace(
        record.model,
        onnx_file="deep/model.onnx",
        files=tuple(f"deep/{name}" for name in files),
        sha256=digest,
        named_files=("warmup/x.bin",),
    )
    found = objects(record=replace(record, model=model), model_uri="s3://bucket/model")
    container = found["Deployment"]["spec"]["template"]["spec"]["initContainers"][0]
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    for name, content in files.items():
        (bucket / name).write_bytes(content if whole else b"other")
    (bucket / NAMED_FOLDER / "warmup").mkdir(parents=True)
    (bucket / NAMED_FOLDER / "warmup" / "x.bin").write_bytes(b"rows")
    done = _run_init_container(container, tmp_path, bucket)
    folder = tmp_path / "models" / record.model.name
    assert (done.returncode == 0) == whole
    assert (folder / "config.pbtxt").is_file() == whole
    assert (folder / "1" / "the weights.bin").is_file()
    assert (folder / "warmup" / "x.bin").is_file() == whole
    assert (folder / "1" / NAMED_FOLDER).exists() == (not whole)
    if not whole:
        assert "another model" in done.stderr


def _run_init_container(container: dict[str, Any], root: Path, bucket: Path) -> subprocess.CompletedProcess[str]:
    """Runs its script here, with an `aws` that copies a folder."""
    programs = root / "bin"
    programs.mkdir()
    aws = programs / "aws"
    aws.write_text(
        f'#!/bin/sh\n[ "$*" = "s3 cp --recursive --no-progress s3://bucket/model/ $6" ] && cp -r {bucket}/* "$6"\n'
    )
    aws.chmod(0o755)
    (root / "config").mkdir()
    (root / "config" / "config.pbtxt").write_text("name: 'x'")
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    places = {"MODELS": str(root / "models"), "CONFIG": str(root / "config")}
    return subprocess.run(
        container["command"],
        env={**environment, **places, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_pod_fetches_the_file_of_the_variant_that_won() -> None:
    record = planned_record()
    best = record.confirmation.best
    assert best is not None
    best = replace(best, variant=replace(best.variant, model_file="int8.onnx"))
    text = f'{record.best_config_pbtxt}default_model_filename: "int8.onnx"'
    won = replace(
        record,
        model=replace(record.model, variants=variants()),
        confirmation=replace(record.confirmation, best=best),
        best_config_pbtxt=text,
    )
    found = plan(won)
    assert INT8_SHA256.startswith(found.model.uri.rstrip("/").rpartition("/")[2])
    assert "found=$(cat -- int8.onnx | sha256sum)" in found.model.script
    deployment = yaml.safe_dump(objects(record=won)["Deployment"])
    assert INT8_SHA256 in deployment
    assert record.model.sha256 not in deployment
