"""The RayJob: KubeRay's fields, Kubernetes' schemas for its pods, what shells make of its texts, and the command."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hcopt.cli.app import app
from hcopt.deploy.kubernetes.ray_job import render_ray_job
from hcopt.deploy.kubernetes.ray_job_options import RayJobOptions
from hcopt.errors import ConfigError
from tests.support.traced import outside_of_blocks

DATA = Path(__file__).parents[3] / "data" / "kubernetes"
COMMAND = "hcopt ray-job --image registry.example.com/hcopt:0.1.0"
# As for the other manifests.
VERSIONS = ("1.27", "1.37")
INSTANCE = "node.kubernetes.io/instance-type"
TYPES = {"integer": int, "string": str, "boolean": bool, "object": dict, "array": list, "number": (int, float)}
WHOLE: dict[str, Any] = {
    "workers": 3,
    "node_selector": (("pool", "quiet"),),
    "node_classes": ((INSTANCE, "c7i.xlarge"), (INSTANCE, "m7a.xlarge")),
    "results_claim": "hcopt-results",
    "models": ("models:/Scoring@prod",),
    "config_text": "# ours\nsweep:\n  concurrency: [8, 32]\n",
    "overrides": ("constraints.latency_p99_ms=20",),
}


def options(**changes: Any) -> RayJobOptions:
    return RayJobOptions(**{"image": "registry.example.com/hcopt:0.1.0", **changes})


def rendered(**changes: Any) -> str:
    return render_ray_job(options(**changes), command=COMMAND)


def documents(**changes: Any) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(rendered(**changes)))


def cluster(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = documents(**changes)[0]["spec"]["rayClusterSpec"]
    return found


def pods(**changes: Any) -> list[dict[str, Any]]:
    """The head's pod, then one of each worker group."""
    found = cluster(**changes)
    groups = (found["headGroupSpec"], *found["workerGroupSpecs"])
    # A pod needs a name, which KubeRay gives it.
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", **group["template"].get("metadata", {})},
            "spec": group["template"]["spec"],
        }
        for group in groups
    ]


def paths(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every field above the pod templates, named as in `rayjob_fields.yaml`."""
    yield path, value
    if isinstance(value, dict) and path.rpartition(".")[2] not in ("template", "rayStartParams"):
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            for name, found in paths(inner, f"{path}[]"):
                if name != f"{path}[]":
                    yield name, found


@pytest.mark.parametrize("changes", [{}, WHOLE], ids=["least", "whole"])
def test_fields_are_those_of_kuberay_with_their_types(changes: dict[str, Any]) -> None:
    known = yaml.safe_load((DATA / "rayjob_fields.yaml").read_text(encoding="utf-8"))
    job = documents(**changes)[0]
    assert (job["apiVersion"], job["kind"], set(job)) == (
        "ray.io/v1",
        "RayJob",
        {"apiVersion", "kind", "metadata", "spec"},
    )
    used = dict(paths(job["spec"], "spec"))
    assert set(used) <= set(known)
    assert {path for path, said in known.items() if said.endswith(", required")} <= set(used)
    for path, value in paths(job["spec"], "spec"):
        kind = known[path].removesuffix(", required")
        if kind == "map of string":
            assert all(isinstance(text, str) for text in value.values()), path
        else:
            # type(), since True is an int to isinstance.
            assert type(value) is TYPES[kind], path


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("changes", [{}, WHOLE], ids=["least", "whole"])
def test_pods_and_config_map_fit_the_schemas_of_kubernetes(changes: dict[str, Any], version: str) -> None:
    for found in (*pods(**changes), *documents(**changes)[1:]):
        kubernetes_validate.validate(found, version, strict=True)


def test_manifest_is_the_golden_one() -> None:
    assert rendered(**WHOLE) == (DATA / "ray" / "rayjob.yaml").read_text(encoding="utf-8")


def test_every_number_has_a_comment() -> None:
    for line in outside_of_blocks(rendered(**{**WHOLE, "config_text": None})):
        value = line.split("  #")[0].split(": ", 1)[-1].strip().strip('"')
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?(Mi|s|m)?", value):
            assert "  # " in line, f"{line.strip()} does not say where it comes from"


def test_job_ends_its_cluster_and_is_not_repeated() -> None:
    spec = documents()[0]["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] == 0
    assert spec["submissionMode"] == "K8sJobMode"


@pytest.mark.parametrize("changes", [{}, WHOLE], ids=["least", "whole"])
def test_pods_are_guaranteed_with_whole_cpus_in_every_container(changes: dict[str, Any]) -> None:
    for pod in pods(**changes):
        assert "initContainers" not in pod["spec"]
        for container in pod["spec"]["containers"]:
            resources = container["resources"]
            assert set(resources["limits"]) == {"cpu", "memory"}
            assert resources["requests"] == resources["limits"]
            assert int(resources["limits"]["cpu"]) >= 1


def test_workers_have_shared_memory_that_fits_into_their_own() -> None:
    for pod in pods(memory_mb=6000)[1:]:
        assert pod["spec"]["volumes"] == [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "3000Mi"}}
        ]


def test_workers_have_a_node_each_whatever_their_group() -> None:
    for pod in pods(**WHOLE)[1:]:
        (term,) = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        # Empty: of all namespaces.
        assert term["namespaceSelector"] == {}
        assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_head_measures_nothing_and_avoids_the_nodes_that_do() -> None:
    head, worker = pods()
    assert cluster()["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    (preferred,) = head["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    wanted = preferred["podAffinityTerm"]["labelSelector"]["matchLabels"]
    assert wanted.items() <= worker["metadata"]["labels"].items()
    assert "labels" not in head["metadata"]


def test_ray_start_gets_the_cpus_and_the_resource_of_each_worker() -> None:
    for group in cluster(cpus=6, **WHOLE)["workerGroupSpecs"]:
        assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "6"
        # Source: convertParamMap in KubeRay 1.7.0: ` --%s=%s ` for each parameter, in one line for `bash -c`.
        flags = "".join(f" --{name}={value} " for name, value in sorted(group["rayStartParams"].items()))
        words = shlex.split(f"ray start{flags}")
        assert words[2:] == ["--num-cpus=6", '--resources={"hcopt": 1}']
        assert _words_in_bash(f"printf '%s\\0'{flags}") == words[2:]
        assert json.loads(words[3].removeprefix("--resources=")) == {"hcopt": 1}


def test_each_class_of_nodes_is_a_worker_group_with_all_labels() -> None:
    groups = cluster(**WHOLE)["workerGroupSpecs"]
    assert [group["groupName"] for group in groups] == ["c7i-xlarge", "m7a-xlarge"]
    assert [group["template"]["spec"]["nodeSelector"] for group in groups] == [
        {"pool": "quiet", INSTANCE: "c7i.xlarge"},
        {"pool": "quiet", INSTANCE: "m7a.xlarge"},
    ]
    for group in groups:
        assert {group[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {3}


def test_one_kind_of_nodes_is_one_worker_group() -> None:
    (group,) = cluster(workers=2)["workerGroupSpecs"]
    assert (group["groupName"], group["replicas"]) == ("nodes", 2)
    assert "nodeSelector" not in group["template"]["spec"]


def test_logins_come_from_a_secret_and_reach_the_head_only() -> None:
    head, *workers = pods(name="night", **WHOLE)
    assert head["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "night-logins", "optional": True}}]
    for worker in workers:
        container = worker["spec"]["containers"][0]
        assert not {"env", "envFrom"} & set(container)
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/dev/shm"]


def test_results_survive_on_the_claim_else_the_file_says_that_they_do_not() -> None:
    volumes = {volume["name"]: volume for volume in pods(**WHOLE)[0]["spec"]["volumes"]}
    assert volumes["results"]["persistentVolumeClaim"] == {"claimName": "hcopt-results"}
    assert "live only in the MLflow" not in rendered(**WHOLE)
    assert pods()[0]["spec"]["volumes"] == [{"name": "results", "emptyDir": {}}]
    assert "the results live only in the MLflow" in rendered()
    mounts = {mount["name"]: mount["mountPath"] for mount in pods()[0]["spec"]["containers"][0]["volumeMounts"]}
    words = shlex.split(documents()[0]["spec"]["entrypoint"])
    assert words[words.index("--output") + 1] == mounts["results"]


def test_config_is_mounted_where_the_command_reads_it() -> None:
    job, config_map = documents(**WHOLE)
    head = pods(**WHOLE)[0]["spec"]
    assert config_map["data"] == {"config.yaml": WHOLE["config_text"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in head["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in head["volumes"]}
    assert volumes["config"]["configMap"]["name"] == config_map["metadata"]["name"]
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[words.index("--config") + 1] == f"{mounts['config']}/config.yaml"
    assert len(documents()) == 1
    assert "--config" not in documents()[0]["spec"]["entrypoint"]


def test_entrypoint_is_the_profile_on_ray() -> None:
    entrypoint = documents(models=("models:/A@prod", "s3://b/c"), overrides=("sweep.concurrency=[8, 16]",))[0]["spec"][
        "entrypoint"
    ]
    assert shlex.split(entrypoint) == [
        *("hcopt", "profile", "--executor", "ray", "--address", "auto", "--output", "/results"),
        *("--model", "models:/A@prod", "--model", "s3://b/c", "--set", "sweep.concurrency=[8, 16]"),
    ]


HOSTILE = "model.input_example=a 'b' \"c\" $(touch /x) `d`; e & f #g\n- h: {i}"


def test_words_of_the_entrypoint_come_through_the_submitters_shell_and_the_heads() -> None:
    job = documents(overrides=(HOSTILE,))[0]
    words = _words_in_bash(f"printf '%s\\0' {job['spec']['entrypoint']} ;")
    # What `ray job submit` makes of them, for the shell on the head.
    again = _words_in_bash(f"printf '%s\\0' {shlex.join(words)}")
    assert words == again
    assert words[-2:] == ["--set", HOSTILE]


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40))
def test_any_text_of_an_option_stays_one_word(text: str) -> None:
    value = f"report.language={text}"
    assert shlex.split(documents(overrides=(value,))[0]["spec"]["entrypoint"])[-1] == value


@pytest.mark.parametrize(
    "text",
    [
        "  report: {language: en}\n",
        "report:\n  language: en  # \"two\" 'quotes'\n---\n",
        "# {{ plan }} {% raw %}\nreport: {language: 'e\\n'}",
        "a: b\r\nc: d\r\n",
        "a: 'b\u2028kind: Pod\x85kind: Pod'\n",
    ],
)
def test_config_of_any_form_stays_one_text(text: str) -> None:
    job, config_map = documents(config_text=text)
    assert job["kind"] == "RayJob"
    assert config_map["data"]["config.yaml"].splitlines() == text.splitlines()


def test_command_of_any_form_stays_one_comment() -> None:
    odd = "hcopt kubernetes --set 'a\nkind: Pod' \u2028kind: Pod"
    text = render_ray_job(options(), command=odd)
    assert text.splitlines()[0] == "# Made by: hcopt kubernetes --set 'a kind: Pod' kind: Pod"
    assert yaml.safe_load(text)["kind"] == "RayJob"


@pytest.mark.parametrize("name", ["null", "yes", "on"])
def test_names_that_yaml_reads_as_something_else_stay_names(name: str) -> None:
    job, config_map = documents(name=name, namespace=name, node_classes=(("pool", name),), config_text="{}\n")
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == (name, name)
    assert config_map["metadata"]["namespace"] == name
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["groupName"] == name
    assert group["template"]["spec"]["nodeSelector"] == {"pool": name}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Not A Label"}, "--name"),
        ({"name": "a\nkind: Pod"}, "--name"),
        ({"namespace": "UPPER"}, "--namespace"),
        ({"image": "a b: #c"}, "--image"),
        ({"image": 'a"\n'}, "--image"),
        ({"results_claim": "a_b"}, "--results-claim"),
        ({"results_claim": "a\n"}, "--results-claim"),
        ({"workers": 0}, "at least 1"),
        ({"cpus": 0}, "at least 1"),
        ({"memory_mb": 0}, "at least 1"),
        ({"node_selector": (("a", "b"), ("a", "c"))}, "two values of the label a"),
        ({"node_selector": (("a", "b"),), "node_classes": (("a", "c"),)}, "two values of the label a"),
        ({"node_classes": (("a", "x.y"), ("a", "x-y"))}, "worker group x-y"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        options(**changes)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ("https://me:hunter22@host/model",)},
        {"overrides": ("mlflow.tracking_uri=https://me:hunter22@host",)},
        {"config_text": "mlflow:\n  tracking_uri: https://me:hunter22@host\n"},
    ],
)
def test_login_does_not_get_into_the_file_or_the_message(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="holds a login") as refused:
        options(name="night", **changes)
    assert "night-logins" in (refused.value.remedy or "")
    assert "hunter22" not in f"{refused.value.message} {refused.value.remedy}"


def test_command_writes_the_file_and_says_what_comes_next(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("report: {language: en}\n", encoding="utf-8")
    done = _run(
        *("--image", "registry.example.com/hcopt:0.1.0", "--workers", "3", "--cpus", "8"),
        *("--node-class", f"{INSTANCE}=c7i.xlarge", "--node-class", f"{INSTANCE}=m7a.xlarge"),
        *("--namespace", "bench", "--config", str(config), "--out", str(tmp_path / "deploy")),
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "deploy" / "rayjob.yaml").read_text(encoding="utf-8")
    job, config_map = yaml.safe_load_all(text)
    assert text.startswith("# Made by: hcopt")
    assert [group["replicas"] for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]] == [3, 3]
    assert config_map["data"]["config.yaml"] == "report: {language: en}\n"
    assert "3 × c7i-xlarge, 3 × m7a-xlarge, 8 CPUs each" in done.output
    assert f"kubectl apply --filename {tmp_path / 'deploy' / 'rayjob.yaml'}" in done.output
    assert "kubectl logs --namespace bench --follow job/hcopt-profile" in done.output


def test_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    theirs = tmp_path / "rayjob.yaml"
    theirs.write_text("kind: RayJob\n", encoding="utf-8")
    done = _run("--image", "a", "--out", str(tmp_path))
    assert done.exit_code == 7
    assert "not written by `hcopt kubernetes`" in done.output
    assert theirs.read_text(encoding="utf-8") == "kind: RayJob\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "a", "--node-class", "a b=c"], "--node-class 'a b=c'"),
        (["--image", "a", "--config", "none.yaml"], "none.yaml"),
        (["--image", "a", "--set", "no.such=key"], "no: unknown key"),
    ],
)
def test_what_makes_no_sense_ends_with_two(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = _run(*arguments, "--out", str(tmp_path / "deploy"))
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "what to do:" in done.output
    assert not (tmp_path / "deploy").exists()


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["ray-job"], "--image"),
        (["kubernetes"], "RUN"),
        (["kubernetes", "results", "--peak", "9"], "--base"),
        (["kubernetes", "results", "--base", "9"], "--peak"),
        (["kubernetes", "results", "--base", "1", "--peak", "9", "--workers", "1"], "--workers"),
        (["ray-job", "--image", "a", "--peak", "9"], "--peak"),
    ],
)
def test_each_command_says_what_it_lacks_or_does_not_know(arguments: list[str], missing: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert missing in done.output or missing.lower() in done.output


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["ray-job", *arguments])


def _words_in_bash(command: str) -> list[str]:
    """What a program gets from this command line, in the shell that KubeRay uses."""
    done = subprocess.run(
        ["/bin/bash", "-c", "--", command],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split("\0")[:-1]
