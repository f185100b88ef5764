"""The Docker runtime with a real Docker Engine: real containers, networks, mounts, limits and signals.

Only what the images hold is not NVIDIA's: see `tests/docker_engine.py`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hcopt.config.sections import Config
from hcopt.errors import RuntimeStartError
from hcopt.model.triton_config import parse_text
from hcopt.records.measurement import Measurement
from hcopt.records.note import Note
from hcopt.store.measurements import read_measurements
from hcopt.system.progress import Progress
from hcopt.triton.choose import Choice, choose_runtime
from hcopt.triton.control import ModelControl
from hcopt.triton.docker.containers import Limits
from hcopt.triton.docker.images import digest, image_names, missing_images, pull
from hcopt.triton.docker.leftovers import find_leftovers, remove_leftovers, remove_run, run_labels
from hcopt.triton.docker.runtime import DockerRuntime, DockerServer
from hcopt.triton.docker.tools import DockerTools, execute
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from hcopt.triton.ports import free_ports
from tests.integration.test_main_job import assert_valid
from tests.support import fakes
from tests.support import onnx_models as models
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Answer, Workplace, workplace
from tests.support.docker_engine import RELEASE, SDK_IMAGE, SERVER_IMAGE
from tests.support.notes import said
from tests.support.registry import registry
from tests.support.relay import relay
from tests.support.stores import with_store
from tests.support.triton import input_and_output

if TYPE_CHECKING:
    from docker import DockerClient

SECRET = "wJalrXUtnFEMI-planted"
DOCKER = (
    "profile",
    *TINY,
    "--runtime=docker",
    f"--set=runtime.docker.release='{RELEASE}'",
    f"--model={SAMPLE_FOLDER}",
    "--set=sweep.concurrency=[4,8]",
    # Model Analyzer leaves a point out of which a window has no answer, as shorter ones have on a very busy machine.
    "--set=profiler.measurement_interval_ms=2500",
    # Time to start a container again, and for some blocks after that.
    "--set=confirmation.max_minutes=0.5",
)


# --- whole runs ------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """One run of the command, and what was seen of its containers while it ran."""

    place: Workplace
    engine: DockerClient
    answer: Answer | None = None
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.place.runs[-1].name

    @property
    def folder(self) -> Path:
        return self.place.runs[-1]

    @property
    def stderr(self) -> str:
        assert self.answer is not None
        return self.answer.stderr

    @property
    def measured(self) -> tuple[Measurement, ...]:
        return tuple(read_measurements(self.folder))

    def kill(self, which: str) -> None:
        self.engine.api.kill(f"hcopt-{self.run_id}-{which}")

    def look(self) -> None:
        for which in ("server", "sdk"):
            self.seen[which] = self.engine.api.inspect_container(f"hcopt-{self.run_id}-{which}")
        self.seen["network"] = self.engine.api.inspect_network(f"hcopt-{self.run_id}")

    def left(self) -> list[str]:
        """Containers, networks and volumes of the run that the engine still has."""
        filters: dict[str, str | list[str] | bool] = {"label": f"hcopt.run={self.run_id}"}
        containers = self.engine.containers.list(all=True, filters=filters)
        networks = self.engine.networks.list(filters=filters)
        made = {mount["Name"] for which in ("server", "sdk") for mount in self._volumes(which)}
        volumes = [volume.name for volume in self.engine.volumes.list() if volume.name in made]
        return [str(found.name) for found in (*containers, *networks)] + volumes

    def _volumes(self, which: str) -> list[Mapping[str, str]]:
        return [mount for mount in self.seen.get(which, {}).get("Mounts", ()) if mount["Type"] == "volume"]


@pytest.fixture(scope="module")
def scenes(
    docker_engine: DockerClient, standin_images: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Scene]]:
    """All runs; several at the same time, since they mostly wait."""
    plays = {
        "killed": play_killed,
        "killed the other way round": play_killed_the_other_way_round,
        "well": play_well,
        "interrupted": play_interrupted,
        "engine stopped": play_engine_stopped,
        "gone": play_gone,
    }

    roots = {name: tmp_path_factory.mktemp("docker") for name in plays}
    made = {
        name: Scene(place=with_store(workplace(root, **planted(root))), engine=docker_engine)
        for name, root in roots.items()
    }
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(lambda name: plays[name](made[name]), plays))
    yield made
    for scene in made.values():
        remove_run(docker_engine, scene.run_id)


def planted(root: Path) -> dict[str, str]:
    """An environment with a secret wherever one may be, Docker's own configuration of proxies included."""
    home = root / "home"
    (home / ".docker").mkdir(parents=True)
    proxy = f"http://user:{SECRET}@proxy.example:3128"
    proxies = {"default": {"httpProxy": proxy, "httpsProxy": proxy}}
    (home / ".docker" / "config.json").write_text(json.dumps({"proxies": proxies}))
    return {
        "HOME": str(home),
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ACCESS_KEY_ID": f"AKIA{SECRET}",
        "MLFLOW_TRACKING_PASSWORD": SECRET,
        "HCOPT_TEST_VARIABLE": SECRET,
        **{name: value for name, value in os.environ.items() if name == "DOCKER_HOST"},
    }


LEFT_BEFORE = "hcopt-test-left-before"


def play_well(scene: Scene) -> None:
    # Of a process that is gone: no process has this start time.
    labels = {**run_labels("killed-before"), "hcopt.started": "never"}
    scene.engine.networks.create(LEFT_BEFORE, labels=labels)
    short = "--set=confirmation.max_minutes=0.05"
    scene.answer = scene.place.run(*DOCKER, short, acts=[("[1/4]", scene.look)])


def play_killed(scene: Scene) -> None:
    scene.answer = scene.place.run(
        *DOCKER,
        acts=[("[1/4]", lambda: scene.kill("server")), (CONFIRMATION, nothing), ("[ 1/", lambda: scene.kill("sdk"))],
    )


def play_killed_the_other_way_round(scene: Scene) -> None:
    scene.answer = scene.place.run(
        *DOCKER,
        acts=[("[1/4]", lambda: scene.kill("sdk")), (CONFIRMATION, nothing), ("[ 1/", lambda: scene.kill("server"))],
    )


def play_interrupted(scene: Scene) -> None:
    scene.answer = scene.place.run(*DOCKER, aim="[1/4]", number=signal.SIGINT)


def play_gone(scene: Scene) -> None:
    scene.answer = scene.place.run(*DOCKER, aim="[1/4]", number=signal.SIGKILL)
    scene.seen["leftovers"] = find_leftovers(scene.engine)


def play_engine_stopped(scene: Scene) -> None:
    path = scene.place.folder.parent / "docker.sock"
    with relay(path, socket_of(scene.engine)) as engine:
        place = replace(scene.place, extra={**scene.place.extra, "DOCKER_HOST": f"unix://{path}"})
        scene.answer = place.run(*DOCKER, acts=[("[1/4]", engine.cut)])


def nothing() -> None:
    """Waits for the next line."""


def socket_of(engine: DockerClient) -> str:
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


CONFIRMATION = "Confirmation:"


def summary(scene: Scene) -> Any:
    return json.loads((scene.folder / "summary.json").read_text(encoding="utf-8"))


def test_run_ends_well_and_leaves_nothing_in_the_engine(scenes: dict[str, Scene]) -> None:
    scene = scenes["well"]
    assert scene.answer is not None and scene.answer.returncode == 0, scene.stderr
    assert "Verdict: " in scene.answer.stdout
    assert [one.error for one in scene.measured if one.error] == []
    assert scene.left() == []
    assert scene.answer.left == ()


def test_run_removes_what_a_killed_one_had_left_before(scenes: dict[str, Scene], docker_engine: DockerClient) -> None:
    assert scenes["well"].answer is not None
    assert docker_engine.networks.list(names=[LEFT_BEFORE]) == []


def test_run_in_containers_gives_the_files_of_an_embedded_one(scenes: dict[str, Scene]) -> None:
    scene = scenes["well"]
    assert {path.name for path in scene.folder.iterdir()} == {
        "analyzer.yaml",
        "golden",
        "input.json",
        "logs",
        "measurements.jsonl",
        "output_models",
        "reports",
        "run.json",
        "samples",
        "summary.json",
    }
    default = (scene.folder / "output_models" / f"{SAMPLE_MODEL}_config_default" / "config.pbtxt").read_text()
    variant = (scene.folder / "output_models" / f"{SAMPLE_MODEL}_config_0" / "config.pbtxt").read_text()
    expected = parse_text((SAMPLE_FOLDER / "config.pbtxt").read_text(encoding="utf-8"))
    assert parse_text(default) == expected
    expected.dynamic_batching.max_queue_delay_microseconds = 500
    assert parse_text(variant) == expected
    assert (scene.folder / "golden" / SAMPLE_MODEL / "config.pbtxt").read_text() in {default, variant}


def test_summary_keeps_its_schema_and_names_the_images(scenes: dict[str, Scene]) -> None:
    scene = scenes["well"]
    found = summary(scene)
    assert_valid(found)
    environment = found["environment"]
    assert (environment["runtime"], environment["backend"]) == (
        "docker",
        {"name": "onnxruntime", "implementation": "native"},
    )
    assert (environment["triton_version"], environment["perf_analyzer_version"]) == ("2.51.0", "2.51.0")
    assert environment["server_image"] == scene.engine.images.get(SERVER_IMAGE).id
    assert environment["sdk_image"] == scene.engine.images.get(SDK_IMAGE).id


def test_model_analyzer_runs_in_the_sdk_container(scenes: dict[str, Scene]) -> None:
    folder = scenes["well"].folder
    assert "model_repository: /hcopt/run/repository" in (folder / "analyzer.yaml").read_text()
    assert "Profile complete" in (folder / "logs" / "model_analyzer.log").read_text()
    assert "Stand-in for NVIDIA's image" in (folder / "logs" / "tritonserver.log").read_text()
    assert list((folder / "reports" / "summaries" / SAMPLE_MODEL / "model_analyzer").iterdir())


def test_containers_have_no_more_than_they_need(scenes: dict[str, Scene]) -> None:
    scene = scenes["well"]
    server, sdk = scene.seen["server"], scene.seen["sdk"]
    for container in (server, sdk):
        host = container["HostConfig"]
        assert container["Config"]["User"] == f"{os.getuid()}:{os.getgid()}"
        assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (["ALL"], ["no-new-privileges"], False)
        assert list(container["NetworkSettings"]["Networks"]) == [f"hcopt-{scene.run_id}"]
        assert "docker.sock" not in json.dumps(container["Mounts"])
    assert bound(server) == [(str(scene.folder / "repository"), False)]
    assert bound(sdk) == [(str(scene.folder), True)]
    published = [binding for bindings in server["NetworkSettings"]["Ports"].values() for binding in bindings or ()]
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}
    assert len(published) == 3
    assert not any((sdk["NetworkSettings"]["Ports"] or {}).values())
    assert server["HostConfig"]["ShmSize"] == 1024**3
    assert set(scene.seen["network"]["Labels"]) == {"hcopt.run", "hcopt.pid", "hcopt.host", "hcopt.started"}


def bound(container: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Folders of this machine in a container, and whether it may write there."""
    return [(mount["Source"], mount["RW"]) for mount in container["Mounts"] if mount["Type"] == "bind"]


def test_planted_secret_is_nowhere(scenes: dict[str, Scene]) -> None:
    for scene in scenes.values():
        assert scene.answer is not None
        assert SECRET not in scene.answer.stderr + scene.answer.stdout + json.dumps(scene.seen, default=str)
        files = [path for path in scene.place.results.rglob("*") if path.is_file()]
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_killed_container_costs_the_measurement_of_that_moment_and_the_run_goes_on(scenes: dict[str, Scene]) -> None:
    scene = scenes["killed"]
    assert scene.answer is not None and scene.answer.returncode == 0, scene.stderr
    failed = [one for one in scene.measured if one.error is not None]
    assert {which(one) for one in failed if one.phase == "sweep"} == {"server"}
    assert {which(one) for one in failed if one.phase == "confirmation"} == {"sdk"}
    assert len([one for one in scene.measured if one.phase == "sweep" and one.error is None]) >= 2
    assert scene.stderr.count("started again") == 2
    assert summary(scene)["measurements"]["failed"] == len(failed)
    assert scene.left() == []


def which(failed: Measurement) -> str:
    """The container that a measurement failed for."""
    match = re.match(r"the container hcopt-\S+-(server|sdk) has ended with 137 \(killed\): ", failed.error or "")
    assert match, failed.error
    return match[1]


def test_model_analyzer_goes_on_where_its_container_was_killed(scenes: dict[str, Scene]) -> None:
    scene = scenes["killed the other way round"]
    assert scene.answer is not None and scene.answer.returncode == 0, scene.stderr
    sweep = [one for one in scene.measured if one.phase == "sweep"]
    assert [one.error for one in sweep] == 4 * [None], scene.stderr
    assert "Loaded checkpoint" in (scene.folder / "logs" / "model_analyzer.log").read_text()
    failed = [one for one in scene.measured if one.error is not None]
    assert {which(one) for one in failed} == {"server"}
    assert scene.left() == []


def test_interruption_removes_everything_and_keeps_what_was_measured(scenes: dict[str, Scene]) -> None:
    scene = scenes["interrupted"]
    assert scene.answer is not None and scene.answer.returncode == 130, scene.stderr
    assert_kept_what_was_told(scene)
    assert scene.left() == []
    assert scene.answer.left == ()


def assert_kept_what_was_told(scene: Scene) -> None:
    """The first point, or a second one where the machine is so busy that the end comes late; each is recorded first."""
    told = len(re.findall(r"\[\d/4\] ", scene.stderr))
    assert 1 <= told <= len(scene.measured) <= told + 1 <= 4, scene.stderr


def test_engine_that_stops_is_a_clear_end_and_what_was_measured_is_kept(scenes: dict[str, Scene]) -> None:
    scene = scenes["engine stopped"]
    assert scene.answer is not None and scene.answer.returncode == 4, scene.stderr
    assert "Docker Engine" in scene.stderr.split("error: ")[1].splitlines()[0]
    assert "Traceback" not in scene.stderr
    assert_kept_what_was_told(scene)
    assert f"label=hcopt.run={scene.run_id}" in scene.stderr, "what may be left is said"


def test_killed_run_is_found_and_removed_and_a_living_one_is_left_alone(
    scenes: dict[str, Scene], docker_engine: DockerClient
) -> None:
    scene = scenes["gone"]
    assert scene.answer is not None and scene.answer.returncode == -signal.SIGKILL
    mine = [found for found in scene.seen["leftovers"] if found.run_id == scene.run_id]
    assert [(found.kind, found.name) for found in mine] == [
        ("container", f"hcopt-{scene.run_id}-server"),
        ("container", f"hcopt-{scene.run_id}-sdk"),
        ("network", f"hcopt-{scene.run_id}"),
    ]
    living = docker_engine.networks.create("hcopt-test-living", labels=run_labels("living"))
    elsewhere = docker_engine.networks.create(
        "hcopt-test-elsewhere", labels={**run_labels("elsewhere"), "hcopt.host": "another-machine", "hcopt.pid": "1"}
    )
    try:
        assert set(mine) <= set(remove_leftovers(docker_engine))
        assert scene.left() == []
        assert find_leftovers(docker_engine) == ()
        assert {found.name for found in docker_engine.networks.list(filters={"label": "hcopt.run"})} >= {
            "hcopt-test-living",
            "hcopt-test-elsewhere",
        }
    finally:
        living.remove()
        elsewhere.remove()


# --- one server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a repository of one small model; its path has whatever may stand in one."""
    folder = tmp_path_factory.mktemp("a run: of é=1") / f"test-{os.getpid()}"
    models.save(models.identity_model(), folder / "repository" / "identity" / "1")
    config = 'name: "identity"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n' + input_and_output()
    (folder / "repository" / "identity" / "config.pbtxt").write_text(config)
    return folder


@dataclass
class Served:
    """A server, and what it told."""

    server: DockerServer
    notes: list[Note]

    @property
    def tools(self) -> DockerTools:
        return self.server.tools


def runtime(release: str = RELEASE, **limits: Any) -> DockerRuntime:
    notes: list[Note] = []
    return DockerRuntime(
        release=release, limits=Limits(**limits), progress=Progress(), note=notes.append, start_timeout_s=300
    )


@pytest.fixture(scope="module")
def served(standin_images: str, run_folder: Path) -> Iterator[Served]:
    """As the user 12345, with a CPU for each side and a memory limit."""
    notes: list[Note] = []
    limits = Limits(cpuset_server="0", cpuset_client="0", memory_mb=1024)
    made = replace(runtime(), limits=limits, note=notes.append)
    with pytest.MonkeyPatch.context() as patch:
        if os.geteuid() == 0:
            for path in (run_folder, *run_folder.rglob("*")):
                os.chown(path, 12345, 12346)
            patch.setattr(os, "getuid", lambda: 12345)
            patch.setattr(os, "getgid", lambda: 12346)
        with made.serve(run_folder / "repository", run_folder) as server:
            yield Served(server, notes)


def shell(tools: DockerTools, script: str, folder: Path, *, timeout_s: float = 300.0) -> tuple[list[str], Any]:
    """Runs a script in the place of perf_analyzer; its lines and how it ended."""
    lines: list[str] = []
    played = replace(tools, programs={"perf_analyzer": "/bin/sh"})
    log = folder / "logs" / "shell.log"
    finished = played.run(
        "perf_analyzer", ["-c", script], folder=folder, log=log, timeout_s=timeout_s, on_line=lines.append
    )
    return lines, finished


def test_tool_runs_in_its_folder_and_its_lines_come_through(served: Served, run_folder: Path) -> None:
    lines, finished = shell(served.tools, "pwd; echo to stderr >&2; printf unfinished", run_folder)
    assert lines == ["/hcopt/run", "to stderr", "unfinished"]
    assert (finished.returncode, finished.timed_out) == (0, False)
    assert (run_folder / "logs" / "shell.log").read_text() == "/hcopt/run\nto stderr\nunfinished"


def test_exit_status_of_a_tool_comes_through(served: Served, run_folder: Path) -> None:
    assert shell(served.tools, "exit 99", run_folder)[1].returncode == 99


def test_cpu_time_of_a_tool_is_counted(served: Served, run_folder: Path) -> None:
    busy = shell(served.tools, "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done", run_folder)[1]
    idle = shell(served.tools, "sleep 1", run_folder)[1]
    assert 0 < idle.cpu_s < busy.cpu_s <= busy.elapsed_s, "one CPU"


def test_time_limit_ends_a_tool_and_what_it_started_in_sessions_of_their_own(served: Served, run_folder: Path) -> None:
    script = "setsid sleep 1001 & sleep 1002; sleep 1003"
    _, finished = shell(served.tools, script, run_folder, timeout_s=1)
    assert (finished.timed_out, finished.returncode) == (True, None)
    assert running(served) == ["sleep infinity"]


def test_tool_that_is_given_up_is_ended(served: Served, run_folder: Path) -> None:
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    tools = replace(served.tools, programs={"perf_analyzer": "/bin/sh"})
    with pytest.raises(KeyboardInterrupt):
        tools.run(
            "perf_analyzer",
            ["-c", "echo started; setsid sleep 1004 & sleep 1005"],
            folder=run_folder,
            log=run_folder / "logs" / "shell.log",
            timeout_s=60,
            on_line=stop,
        )
    assert running(served) == ["sleep infinity"]


def running(served: Served) -> list[str]:
    """What runs in the SDK container, but for the question."""
    command = 'for p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline; echo; done'
    _, said = execute(served.server.client, served.tools.container, ["sh", "-c", command])
    return [line.strip() for line in said.splitlines() if "sleep" in line and "/proc/" not in line]


def test_path_is_that_in_the_container_and_others_are_refused(served: Served, run_folder: Path) -> None:
    assert served.tools.path(run_folder / "work" / "a.json") == "/hcopt/run/work/a.json"
    with pytest.raises(ValueError, match="is not in the subpath"):
        served.tools.path(run_folder.parent / "other")


def test_files_belong_to_the_user(served: Served, run_folder: Path) -> None:
    lines, _ = shell(served.tools, "id -u; id -g; touch made", run_folder)
    made = (run_folder / "made").stat()
    owner = (12345, 12346) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    assert (made.st_uid, made.st_gid) == owner
    assert lines == [str(number) for number in owner]


def test_tools_see_nothing_of_this_environment(served: Served, run_folder: Path) -> None:
    lines, _ = shell(served.tools, "env", run_folder)
    assert {line.partition("=")[0] for line in lines} <= {"HOME", "HOSTNAME", "PATH", "PWD", "PYTHONUNBUFFERED"}


def test_limits_hold_and_are_part_of_the_environment(served: Served) -> None:
    server = served.server.client.api.inspect_container(served.server.containers.server_name)["HostConfig"]
    assert (server["CpusetCpus"], server["Memory"]) == ("0", 1024**3)
    environment = served.server.environment
    assert (environment.cpu_count, environment.cpuset, environment.memory_mb) == (1, "0", 1024)


def test_server_that_lives_is_left_alone(served: Served) -> None:
    before = served.server.client.api.inspect_container(served.server.containers.server_name)["Id"]
    assert served.server.restart_if_dead() is None
    assert served.server.client.api.inspect_container(served.server.containers.server_name)["Id"] == before


def test_server_that_was_killed_is_back_at_the_same_address_until_it_was_once_too_often(served: Served) -> None:
    server = served.server
    endpoint, notes = server.endpoint, len(served.notes)
    for end, how in ((kill, "has ended with 137 (killed)"), (remove, "was removed"), (kill, "has ended with 137")):
        end(server)
        assert how in (server.restart_if_dead() or "")
        with ModelControl(endpoint) as control:
            control.load("identity")
    assert [said(note).endswith("failed or is taken again.") for note in served.notes[notes:]] == 3 * [True]
    kill(server)
    with pytest.raises(RuntimeStartError, match="after 3 restarts in a row") as caught:
        server.restart_if_dead()
    assert caught.value.log == server.log
    assert "Started HTTPService" in caught.value.message


def kill(server: DockerServer) -> None:
    server.client.api.kill(server.containers.server_name)


def remove(server: DockerServer) -> None:
    server.client.api.remove_container(server.containers.server_name, force=True)


def test_log_of_every_server_is_there_while_it_runs(served: Served, run_folder: Path) -> None:
    text = (run_folder / "logs" / "tritonserver.log").read_text()
    assert "Stand-in for NVIDIA's image" in text


# --- starts that fail ------------------------------------------------------------------------------------------------


def failure(engine: DockerClient, made: DockerRuntime, folder: Path) -> RuntimeStartError:
    with pytest.raises(RuntimeStartError) as caught, made.serve(folder / "repository", folder):
        pass
    filters: dict[str, str | list[str] | bool] = {"label": f"hcopt.run={folder.name}"}
    assert engine.containers.list(all=True, filters=filters) == []
    assert engine.networks.list(filters=filters) == []
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.save(models.identity_model(), tmp_path / "repository" / "identity" / "1")
    config = 'name: "identity"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n' + input_and_output()
    (tmp_path / "repository" / "identity" / "config.pbtxt").write_text(config)
    return tmp_path


def test_image_that_cannot_be_had_is_named_with_what_to_type(docker_engine: DockerClient, folder: Path) -> None:
    error = failure(docker_engine, runtime("98.01"), folder)
    assert error.message.startswith("cannot pull nvcr.io/nvidia/tritonserver:98.01-py3: ")
    assert error.remedy is not None
    assert "docker pull nvcr.io/nvidia/tritonserver:98.01-py3 " in error.remedy


def test_sdk_image_without_model_analyzer_is_named_with_releases_that_have_it(
    docker_engine: DockerClient, images_without_model_analyzer: str, folder: Path
) -> None:
    error = failure(docker_engine, runtime(images_without_model_analyzer), folder)
    assert f"{images_without_model_analyzer}-py3-sdk has perf_analyzer, but not Model Analyzer" in error.message
    assert error.remedy is not None and "up to 25.04, or from 25.12 on" in error.remedy


def test_memory_that_is_too_little_is_the_reason(
    docker_engine: DockerClient, standin_images: str, folder: Path
) -> None:
    error = failure(docker_engine, runtime(memory_mb=8), folder)
    assert "needed more memory than it may have (runtime.docker.memory_mb)" in error.message


def test_cpus_that_the_machine_has_not_are_the_engine_s_words(
    docker_engine: DockerClient, standin_images: str, folder: Path
) -> None:
    error = failure(docker_engine, runtime(cpuset_client="0-4095"), folder)
    assert "Requested CPUs are not available" in error.message


def test_model_that_triton_refuses_is_an_error_with_triton_s_reason(
    docker_engine: DockerClient, standin_images: str, folder: Path
) -> None:
    (folder / "repository" / "identity" / "1" / "model.onnx").write_bytes(b"no model")
    error = failure(docker_engine, runtime(), folder)
    assert error.message.startswith("Triton cannot load the model identity: ")
    assert "onnxruntime cannot load" in error.message


def test_triton_that_is_not_ready_in_time_is_an_error_with_its_log(
    docker_engine: DockerClient, standin_images: str, folder: Path
) -> None:
    error = failure(docker_engine, replace(runtime(), start_timeout_s=0), folder)
    assert "was not ready after 0 s" in error.message
    assert error.log == folder / "logs" / "tritonserver.log"


def test_port_that_is_taken_is_left_to_its_owner(standin_images: str, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        choices = [replace(free_ports(), grpc=port), free_ports()]
        with replace(runtime(), choose_ports=lambda: choices.pop(0)).serve(folder / "repository", folder) as server:
            assert not server.endpoint.grpc.endswith(f":{port}")
    assert choices == []


# --- images and the choice -------------------------------------------------------------------------------------------


def test_pull_tells_how_far_it_is(docker_engine: DockerClient) -> None:
    progress = fakes.RecordedProgress()
    with registry() as name:
        try:
            pull(docker_engine, f"{name}:1", progress)
            assert missing_images(docker_engine, [f"{name}:1"]) == ()
            assert digest(docker_engine, f"{name}:1").startswith(f"{name}@sha256:")
        finally:
            docker_engine.images.remove(f"{name}:1")
    assert progress.phases == [(f"Pulling {name}:1", None)]
    assert progress.steps[-1] == "3 of 3 MB"


def chosen(release: str) -> Choice:
    config = Config.model_validate({"runtime": {"docker": {"release": release}}})
    return choose_runtime(config, progress=Progress(), note=lambda _: None)


def test_auto_is_docker_where_both_images_are_there(standin_images: str) -> None:
    choice = chosen(standin_images)
    assert isinstance(choice.runtime, DockerRuntime)
    assert said(choice.note).startswith(
        f"Runtime: docker, since the Docker Engine has both images of release {RELEASE}."
    )


def test_auto_pulls_nothing_and_says_what_is_missing(docker_engine: DockerClient) -> None:
    choice = chosen("98.01")
    assert isinstance(choice.runtime, EmbeddedRuntime)
    assert f"since the Docker Engine lacks {', '.join(image_names('98.01').both)}." in said(choice.note)
