"""docker-compose.yml, brought up for real, and a whole job that finds it through .env; secrets stay where they belong.

What is in the images is this machine's (see tests/compose.py): NVIDIA's, MinIO's, SeaweedFS's and PostgreSQL's own
images cannot be pulled where the tests run. The S3 server is SeaweedFS, with the command line of docker-compose.yml;
MinIO's part is only validated.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import psutil
import pypdf
import pytest
import yaml

from hcopt.errors import OutputError
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking.registry import SAMPLE_URI
from tests.support.command import HCOPT, REPOSITORY, TINY, Answer, Workplace, workplace
from tests.support.compose import Stack, compose, stack

if TYPE_CHECKING:
    from docker import DockerClient

LOGIN = {"AWS_ACCESS_KEY_ID": "planted-user", "AWS_SECRET_ACCESS_KEY": "planted/s3+secret=of&dotenv"}
DATABASE = {"POSTGRES_PASSWORD": "planted@database:secret/of%dotenv"}
ENVIRONMENT = {
    "MLFLOW_TRACKING_USERNAME": "somebody",
    "MLFLOW_TRACKING_PASSWORD": "planted-password-of-the-environment",
    "TEAM_API_TOKEN": "planted-token-of-the-environment",
}
SECRETS = (
    LOGIN["AWS_SECRET_ACCESS_KEY"],
    DATABASE["POSTGRES_PASSWORD"],
    ENVIRONMENT["MLFLOW_TRACKING_PASSWORD"],
    ENVIRONMENT["TEAM_API_TOKEN"],
)
EXAMPLE = REPOSITORY / ".env.example"
SERVICES = {"check", "bucket", "postgres", "mlflow"}


# --- the file --------------------------------------------------------------------------------------------------------


def configuration(*arguments: str, **environment: str) -> dict[str, Any]:
    """docker-compose.yml as Compose understands it."""
    file = ("-f", str(REPOSITORY / "docker-compose.yml"))
    answer = compose(*arguments, *file, "config", environment=environment)
    assert answer.returncode == 0, answer.stderr
    return dict(yaml.safe_load(answer.stdout))


@pytest.mark.parametrize("server", ["minio", "seaweedfs"])
def test_file_is_valid_and_publishes_on_loopback_only(server: str) -> None:
    services = configuration("--env-file", str(EXAMPLE), "--profile", server)["services"]
    assert services.keys() >= SERVICES | {server}
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    for port in ports:
        assert (port if isinstance(port, str) else port["host_ip"]).startswith("127.0.0.1")
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ("healthcheck" in service) == (name not in ("check", "bucket")), name


def test_every_image_from_elsewhere_is_pinned_by_digest() -> None:
    services = configuration("--env-file", str(EXAMPLE), "--profile", "minio", "--profile", "seaweedfs")["services"]
    images = {service["image"] for service in services.values() if "build" not in service}
    assert len(images) == 3
    assert all(re.fullmatch(r"[a-z./]+:[\w.-]+@sha256:[0-9a-f]{64}", image) for image in images)


def test_file_without_secrets_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    answer = compose("--env-file", str(empty), "-f", str(REPOSITORY / "docker-compose.yml"), "config", environment={})
    assert answer.returncode != 0
    assert "copy .env.example to .env" in answer.stderr


def test_image_of_mlflow_has_the_version_of_requirements() -> None:
    """By pip's constraints, so that there is no second place for a version; the driver's is that of the lock."""
    lines = (REPOSITORY / "docker" / "mlflow" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    main = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lock = (REPOSITORY / "uv.lock").read_text(encoding="utf-8")
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        locked = f'name = "{name}"\nversion = "{version}"\n' in lock
        assert locked or any(line.startswith(f"{requirement}==") for line in main), requirement
    dockerfile = (REPOSITORY / "docker" / "mlflow" / "Dockerfile").read_text(encoding="utf-8")
    assert "-c /tmp/constraints.txt" in dockerfile
    assert "COPY requirements.txt /tmp/constraints.txt" in dockerfile


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_default_secrets_are_good_enough_on_loopback(address: str) -> None:
    assert checked(HCOPT_BIND=address, AWS_SECRET_ACCESS_KEY="change-me-s3-secret", POSTGRES_PASSWORD="x") == (0, "")


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.5", "::", "1270.0.0.1", ""])
def test_default_and_short_secrets_are_refused_elsewhere(address: str) -> None:
    returncode, said = checked(HCOPT_BIND=address, AWS_SECRET_ACCESS_KEY="change-me-s3-secret", POSTGRES_PASSWORD="abc")
    assert returncode == 1
    assert "AWS_SECRET_ACCESS_KEY is still the one of .env.example" in said
    assert "POSTGRES_PASSWORD has less than 16 characters" in said
    assert "what to do: set secrets of your own in .env" in said
    assert "abc" not in said
    own = {"AWS_SECRET_ACCESS_KEY": "x" * 16, "POSTGRES_PASSWORD": "y$ 'z\"" * 3}
    assert checked(HCOPT_BIND=address, **own) == (0, "")


def checked(**environment: str) -> tuple[int, str]:
    script = REPOSITORY / "docker" / "mlflow" / "check_secrets.sh"
    answer = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stderr


def test_example_has_no_secret_but_the_refused_ones() -> None:
    values = dict(line.split("=", 1) for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if "=" in line[1:])
    returncode, said = checked(**{**values, "HCOPT_BIND": "0.0.0.0"})
    assert returncode == 1
    assert said.count("is still the one of .env.example") == 2
    assert values["HCOPT_BIND"] == "127.0.0.1"


# --- the services ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(docker_engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Where somebody works, with secrets in the environment; its .env is that of the services."""
    return workplace(tmp_path_factory.mktemp("mlops"), **ENVIRONMENT)


@pytest.fixture(scope="module")
def services(docker_engine: DockerClient, place: Workplace) -> Iterator[Stack]:
    """All services, up and healthy."""
    with stack(docker_engine, place.folder, {"COMPOSE_PROFILES": "seaweedfs", **LOGIN, **DATABASE}) as made:
        up = made.compose("up", "-d", "--no-build")
        assert up.returncode == 0, up.stderr + made.compose("logs").stdout
        made.wait_until_healthy(docker_engine, "seaweedfs")
        made.wait_until_healthy(docker_engine, "mlflow")
        yield made


def test_default_secrets_keep_everything_down_where_others_could_reach_it(
    docker_engine: DockerClient, tmp_path: Path
) -> None:
    secrets = {"AWS_ACCESS_KEY_ID": "hcopt", "AWS_SECRET_ACCESS_KEY": "change-me-s3-secret", **DATABASE}
    with stack(docker_engine, tmp_path, {"COMPOSE_PROFILES": "seaweedfs", "HCOPT_BIND": "0.0.0.0", **secrets}) as made:
        assert made.compose("up", "-d", "--no-build").returncode != 0
        label = f"com.docker.compose.project={made.project}"
        assert docker_engine.containers.list(filters={"label": label}) == []
        assert "AWS_SECRET_ACCESS_KEY is still the one of .env.example" in made.compose("logs", "check").stdout


def test_mlflow_answers_to_the_names_that_it_was_given(services: Stack) -> None:
    address = urlsplit(services.values["MLFLOW_TRACKING_URI"])
    said = {}
    for host in (f"localhost:{address.port}", "mlflow:5000", "evil.example:5000"):
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": host})
        said[host.partition(":")[0]] = connection.getresponse().status
        connection.close()
    assert said == {"localhost": 200, "mlflow": 200, "evil.example": 403}


def test_services_listen_on_loopback_only(docker_engine: DockerClient, services: Stack) -> None:
    for service in ("mlflow", "seaweedfs", "postgres"):
        settings = docker_engine.api.inspect_container(services.container(docker_engine, service))["NetworkSettings"]
        published = [entry["HostIp"] for entries in settings["Ports"].values() for entry in entries or ()]
        assert published == ([] if service == "postgres" else ["127.0.0.1"])


# --- the job ---------------------------------------------------------------------------------------------------------


# What libraries ask the system: NumPy 1 as `numpy.testing` is imported, which SciPy does, and Python's `platform`.
STARTED_BY_LIBRARIES = ("lscpu", "uname -p")


@dataclass
class Watch:
    """What processes show while they last: all of them their command lines, those below hcopt their variables.

    Attributes:
        root: Below it are the temporary files of the commands that are watched: other tests' hcopt may run too.
    """

    root: Path
    found: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        # What was there before is not looked at again and again: a window of perf_analyzer is short.
        before = set(psutil.pids())
        while not self._over.wait(0.02):
            for pid in set(psutil.pids()) - before:
                with suppress(psutil.Error):  # it has ended
                    self._look_at(psutil.Process(pid))

    def _look_at(self, process: psutil.Process) -> None:
        line = " ".join(process.cmdline())
        self.found |= {f"{secret} in: {line}" for secret in SECRETS if secret in line}
        parents = [" ".join(parent.cmdline()) for parent in process.parents()]
        # A child that has not come to its exec yet still shows its parent's command line and variables.
        if line not in parents and line not in STARTED_BY_LIBRARIES and any(str(HCOPT) in parent for parent in parents):
            variables = str(process.environ())
            if str(self.root) in variables:
                self.seen.add(process.name())
            self.found |= {f"{secret} in the environment of {line}" for secret in SECRETS if secret in variables}


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a user's commands said, and what was seen of processes meanwhile."""

    answers: dict[str, Answer]
    watch: Watch


@pytest.fixture(scope="module")
def done(services: Stack, place: Workplace) -> Done:
    nobody = f"http://me:{ENVIRONMENT['MLFLOW_TRACKING_PASSWORD']}@127.0.0.1:1"
    wrong = {"AWS_ACCESS_KEY_ID": "planted-user", "AWS_SECRET_ACCESS_KEY": ENVIRONMENT["TEAM_API_TOKEN"]}
    with Watch(root=place.temporary.parent) as watch, ThreadPoolExecutor() as pool:
        seed = beside(place, "seed").run("seed")
        jobs = {
            "profile": pool.submit(place.run, "profile", "--runtime=embedded", *TINY),
            "again": pool.submit(beside(place, "again").run, "seed"),
            "doctor": pool.submit(beside(place, "doctor").run, "doctor", "--json"),
            "unreachable": pool.submit(beside(place, "unreachable", MLFLOW_TRACKING_URI=nobody).run, "seed", "--debug"),
            "no bucket": pool.submit(beside(place, "bucket").run, "fetch", "--model=s3://nowhere/m.onnx", "--debug"),
            "denied": pool.submit(beside(place, "denied", **wrong).run, "fetch", "--model=s3://mlflow/m", "--debug"),
        }
        answers = {name: job.result() for name, job in jobs.items()}
    return Done(answers={"seed": seed, **answers}, watch=watch)


def beside(place: Workplace, name: str, **environment: str) -> Workplace:
    """The same folder, for a command at the same time: what the others leave or start is not taken for its own."""
    temporary = place.temporary.with_name(name)
    temporary.mkdir()
    return replace(place, temporary=temporary, extra={**place.extra, **environment})


def test_job_finds_the_services_through_dotenv_and_logs_there(done: Done, services: Stack, place: Workplace) -> None:
    uri = services.values["MLFLOW_TRACKING_URI"]
    assert done.answers["seed"].stdout == f"{SAMPLE_URI} in {uri}: registered\n"
    assert done.answers["again"].stdout == f"{SAMPLE_URI} in {uri}: is there already; nothing was done\n"
    profile = done.answers["profile"]
    assert profile.returncode == 0, profile.stderr + services.compose("logs", "--tail=60", "mlflow").stdout
    assert profile.left == ()
    summary = json.loads((place.results / "summary.json").read_text(encoding="utf-8"))
    assert summary["mlflow"]["tracking_uri"] == uri
    assert summary["models"][0]["model"]["source_uri"] == SAMPLE_URI
    assert not (place.results / "mlflow").exists(), "no MLflow of its own"
    with mlflow_session(uri, error=OutputError) as client:
        run = client.get_run(summary["mlflow"]["run_id"])
        assert run.info.status == "FINISHED"
        assert run.info.artifact_uri.startswith("mlflow-artifacts:"), "proxied: nobody but MLflow needs S3's login"
    assert any(name.endswith("/report/result_summary.pdf") for name in objects(services))


def objects(services: Stack) -> dict[str, bytes]:
    """Everything in the bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=services.values["MLFLOW_S3_ENDPOINT_URL"],
        aws_access_key_id=LOGIN["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=LOGIN["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    names = [entry["Key"] for entry in client.list_objects_v2(Bucket="mlflow").get("Contents", ())]
    content = {name: client.get_object(Bucket="mlflow", Key=name)["Body"].read() for name in names}
    client.close()
    return content


def test_doctor_finds_the_services_well(done: Done, services: Stack) -> None:
    findings = {entry["name"]: entry for entry in json.loads(done.answers["doctor"].stdout)["findings"]}
    assert (findings["MLflow"]["status"], findings["S3"]["status"]) == ("ok", "ok"), findings
    assert findings["MLflow"]["said"].startswith(f"answers at {services.values['MLFLOW_TRACKING_URI']} (MLflow 3.")
    assert findings["S3"]["said"].startswith("wrote, read and removed an object in s3://mlflow")
    assert not [name for name in objects(services) if "doctor" in name]


def test_failures_are_told(done: Done) -> None:
    assert done.answers["unreachable"].returncode == 7
    assert "cannot reach MLflow at http://127.0.0.1:1" in done.answers["unreachable"].stderr
    assert done.answers["no bucket"].returncode == 3
    assert "there is no bucket s3://nowhere" in done.answers["no bucket"].stderr
    assert done.answers["denied"].returncode == 3
    assert "refuses the credentials for s3://mlflow (SignatureDoesNotMatch)" in done.answers["denied"].stderr


def test_planted_secrets_are_in_nothing_that_was_said(done: Done) -> None:
    for name, answer in done.answers.items():
        assert_clean(f"{answer.stdout}{answer.stderr}", name)


def assert_clean(content: str | bytes, where: object) -> None:
    text = content if isinstance(content, str) else content.decode(errors="replace")
    assert not [secret for secret in SECRETS if secret in text], where


def test_planted_secrets_are_in_no_command_line_and_no_childs_environment(done: Done) -> None:
    assert {"tritonserver", "perf_analyzer"} <= done.watch.seen, "the watch saw what measures"
    assert done.watch.found == set()


def test_planted_secrets_are_in_no_file_of_a_run(done: Done, place: Workplace) -> None:
    files = [path for path in place.results.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"run.json", "summary.json", "measurements.jsonl", "result_summary.pdf", "tritonserver.log"} <= names
    for path in files:
        assert_clean(path.read_bytes(), path)
    for path in place.results.rglob("*.pdf"):
        assert_clean("".join(page.extract_text() for page in pypdf.PdfReader(path).pages), path)


def test_planted_secrets_are_in_nothing_that_mlflow_and_s3_keep(done: Done, services: Stack) -> None:
    kept = []
    with mlflow_session(services.values["MLFLOW_TRACKING_URI"], error=OutputError) as client:
        for experiment in client.search_experiments():
            kept += [run.to_dictionary() for run in client.search_runs([experiment.experiment_id])]
        kept += [dict(version) for version in client.search_model_versions()]
    assert len(kept) >= 5
    assert_clean(str(kept), "MLflow")
    for name, content in objects(services).items():
        assert_clean(content, name)


def test_planted_secrets_are_in_no_log_of_the_services(done: Done, services: Stack) -> None:
    logs = services.compose("logs").stdout
    assert len(logs.splitlines()) > 20
    assert_clean(logs, "docker-compose logs")


def test_results_can_be_handed_on_without_dotenv(place: Workplace, done: Done, tmp_path: Path) -> None:
    """run.json holds the configuration, and nothing that only .env said."""
    copy = tmp_path / "results"
    shutil.copytree(place.results, copy, symlinks=True)
    recorded = json.loads((copy / "latest" / "run.json").read_text(encoding="utf-8"))["config"]
    assert recorded["mlflow"].keys() == {
        *("tracking_uri", "ca_bundle", "experiment", "promote_alias", "migrate_database"),
    }
    assert recorded["s3"].keys() == {"endpoint_url", "region", "path_style", "ca_bundle", "timeout_s"}
