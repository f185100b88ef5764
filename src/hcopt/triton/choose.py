"""The Runtime for `runtime.kind` of the configuration; `auto` looks at what this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, RuntimeStartError
from hcopt.records.note import Note
from hcopt.system.progress import Progress
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

    section = config.runtime
    limits = Limits(
        cpuset_server=section.cpuset.server,
        cpuset_client=section.cpuset.client,
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
    section = config.runtime
    return EmbeddedRuntime(cpuset_server=section.cpuset.server, cpuset_client=section.cpuset.client, note=note)


def _remote(config: Config, note: Callable[[Note], None], *, carries_models: bool) -> Runtime:
    from hcopt.triton.remote import RemoteRuntime, remote_endpoint

    section = config.runtime.remote
    endpoint = remote_endpoint(section.grpc, section.http, section.metrics)
    return RemoteRuntime(
        endpoint=endpoint, note=note, cpuset_client=config.runtime.cpuset.client, carries_models=carries_models
    )
