"""The Runtime for `runtime.kind` of the configuration; `auto` looks at what this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, RuntimeStartError
from hcopt.records.note import Note
from hcopt.system.cgroup import read_cpu_quota
from hcopt.system.cpu_list import parse_cpu_list
from hcopt.system.machine import cpus_of, usable_cpu_count
from hcopt.system.progress import Progress
from hcopt.system.topology import CpuSets, plan_sets, read_cores
from hcopt.triton.base import Runtime
from hcopt.words.notes import sentence

# An engine that takes longer is not the quicker way.
_ENGINE_TIMEOUT_S = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A runtime.

    Attributes:
        runtime: It.
        note: Where it was chosen by `auto`: which, why, and how to get the other.
    """

    runtime: Runtime
    note: Note | None = None


def choose_runtime(
    config: Config, *, progress: Progress, note: Callable[[Note], None], carries_models: bool = False
) -> Choice:
    """The runtime that the configuration asks for.

    Args:
        config: The configuration.
        progress: For what the runtime does later: told how far a pull is.
        note: For what the runtime does later: takes what the user has to know.
        carries_models: See `RemoteRuntime`; a server of hcopt's own has every model in its repository.

    Raises:
        ConfigError: It cannot be had with this configuration.
    """
    # Without a default case: mypy refuses a kind that none of these is for.
    match config.runtime.kind:
        case "auto":
            return _automatic(config, progress, note)
        case "docker":
            return Choice(runtime=_docker(config, progress, note))
        case "remote":
            return Choice(runtime=_remote(config, note, carries_models=carries_models))
        case "embedded":
            return Choice(runtime=_embedded(config, "use --runtime docker or remote", note))


def cpu_sets(config: Config) -> CpuSets:
    """The CPUs of server and load generator: those of the configuration, else disjoint cores where there are enough.

    hcopt divides for its own backends alone, which have ONNX Runtime choose threads by the server's cores. In NVIDIA's
    it would take one for each core of the machine: the default would be slow for what hcopt has taken from it.
    """
    section = config.runtime.cpuset
    if section.is_auto:
        planned = plan_sets(read_cores(os.sched_getaffinity(0)), quota=read_cpu_quota())
        return planned if planned is not None and _is_embedded(config) else CpuSets()
    server, client = (None if one == "auto" else one for one in (section.server, section.client))
    return CpuSets(server=server, client=client)


def server_cores(config: Config) -> int | None:
    """CPUs that the server will have; None where it runs elsewhere."""
    if config.runtime.is_remote:
        return None
    server = cpu_sets(config).server
    if config.runtime.kind == "docker":
        return len(parse_cpu_list(server)) if server else os.cpu_count()
    return usable_cpu_count(cpus_of(server))


def _is_embedded(config: Config) -> bool:
    if config.runtime.kind != "auto":
        return config.runtime.kind == "embedded"
    from hcopt.triton.docker.images import image_names

    return _what_docker_lacks(image_names(config.runtime.docker.release).both) is not None


def _automatic(config: Config, progress: Progress, note: Callable[[Note], None]) -> Choice:
    """Docker where it is ready to go; its images are over 10 GB, so that nothing is pulled unasked."""
    from hcopt.triton.docker.images import image_names, pull_commands

    release = config.runtime.docker.release
    images = image_names(release).both
    lacks = _what_docker_lacks(images)
    if lacks is None:
        return Choice(runtime=_docker(config, progress, note), note=Note.of("docker_chosen", release=release))
    commands = pull_commands(images)
    return Choice(
        runtime=_embedded(config, f"docker would have one, but {sentence(lacks)} ({commands})", note),
        note=Note.of("embedded_chosen", lacks=lacks, commands=commands),
    )


def _what_docker_lacks(images: Iterable[str]) -> Note | None:
    from hcopt.triton.docker.engine import docker_client
    from hcopt.triton.docker.images import missing_images

    try:
        with docker_client(timeout_s=_ENGINE_TIMEOUT_S) as client:
            missing = missing_images(client, images)
    except RuntimeStartError as error:
        return Note.of("error", message=error.message)
    return Note.of("docker_lacks_images", names=", ".join(missing)) if missing else None


def _docker(config: Config, progress: Progress, note: Callable[[Note], None]) -> Runtime:
    from hcopt.triton.docker.containers import Limits
    from hcopt.triton.docker.runtime import DockerRuntime

    section, sets = config.runtime, cpu_sets(config)
    limits = Limits(
        cpuset_server=sets.server,
        cpuset_client=sets.client,
        memory_mb=section.docker.memory_mb,
        gpus=config.instance_kind == "KIND_GPU",
    )
    return DockerRuntime(release=section.docker.release, limits=limits, progress=progress, note=note)


def _embedded(config: Config, otherwise: str, note: Callable[[Note], None]) -> Runtime:
    from hcopt.triton.embedded.runtime import EmbeddedRuntime

    if config.instance_kind == "KIND_GPU":
        raise ConfigError(
            "instance_kind is KIND_GPU, and the embedded runtime has no GPU", remedy=f"For a GPU, {otherwise}."
        )
    sets = cpu_sets(config)
    return EmbeddedRuntime(cpuset_server=sets.server, cpuset_client=sets.client, note=note)


def _remote(config: Config, note: Callable[[Note], None], *, carries_models: bool) -> Runtime:
    from hcopt.triton.remote import RemoteRuntime, remote_endpoint

    section = config.runtime.remote
    endpoint = remote_endpoint(section.grpc, section.http, section.metrics)
    return RemoteRuntime(
        endpoint=endpoint, note=note, cpuset_client=cpu_sets(config).client, carries_models=carries_models
    )
