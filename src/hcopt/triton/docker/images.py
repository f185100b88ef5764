"""NVIDIA's images of one Triton release: whether the engine has them, and getting them when it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hcopt.errors import RuntimeStartError
from hcopt.system.progress import Progress
from hcopt.triton.docker.engine import docker_errors

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "nvcr.io/nvidia/tritonserver"
_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNames:
    """The images of one release, such as 26.09."""

    server: str
    sdk: str

    @property
    def both(self) -> tuple[str, str]:
        """The server's and the SDK's."""
        return self.server, self.sdk


def image_names(release: str) -> ImageNames:
    """The names that a release's images have in NVIDIA's registry."""
    return ImageNames(server=f"{REPOSITORY}:{release}-py3", sdk=f"{REPOSITORY}:{release}-py3-sdk")


def pull_commands(names: Iterable[str]) -> str:
    """What to type to get images."""
    return " && ".join(f"docker pull {name}" for name in names)


def missing_images(client: DockerClient, names: Iterable[str]) -> tuple[str, ...]:
    """The images that the engine does not have.

    Raises:
        RuntimeStartError: It does not answer.
    """
    return tuple(name for name in names if not _has(client, name))


def _has(client: DockerClient, name: str) -> bool:
    from docker.errors import ImageNotFound

    with docker_errors(f"the Docker Engine does not say whether it has {name}"):
        try:
            client.images.get(name)
        except ImageNotFound:
            return False
    return True


def digest(client: DockerClient, name: str) -> str:
    """What the registry calls an image that was pulled (`name@sha256:…`), else the engine's own id of it.

    Raises:
        RuntimeStartError: The engine does not have it, or does not answer.
    """
    with docker_errors(f"the Docker Engine does not describe {name}"):
        image = client.images.get(name)
    digests: list[str] = image.attrs.get("RepoDigests") or []
    return digests[0] if digests else str(image.id)


def pull(client: DockerClient, name: str, progress: Progress) -> None:
    """Pulls an image and tells how far it is.

    Raises:
        RuntimeStartError: It cannot be had; says what to type where it can.
    """
    repository, _, tag = name.rpartition(":")
    progress.phase(f"Pulling {name}")
    layers = _Layers()
    try:
        with docker_errors(f"cannot pull {name}"):
            for event in client.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in event:
                    raise RuntimeStartError(f"cannot pull {name}: {event['error']}")
                if layers.take(event):
                    progress.started(layers.state)
    except RuntimeStartError as error:
        raise RuntimeStartError(
            error.message,
            remedy=f"Where there is a network: {pull_commands([name])} (another machine's image comes over with "
            "docker save and docker load). Or use --runtime embedded, which needs no images.",
        ) from error


class _Layers:
    """The layers of an image on their way, as one figure."""

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[int, int]] = {}
        self.state = ""

    def take(self, event: Mapping[str, Any]) -> bool:
        """Takes one line of the engine's; says whether the figure has changed."""
        layer, detail = str(event.get("id", "")), event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and detail.get("total"):
            self._bytes[layer] = (int(detail["current"]), int(detail["total"]))
        elif event.get("status") in {"Download complete", "Pull complete"} and layer in self._bytes:
            total = self._bytes[layer][1]
            self._bytes[layer] = (total, total)
        done = sum(done for done, _ in self._bytes.values()) // _BYTES_PER_MB
        total = sum(total for _, total in self._bytes.values()) // _BYTES_PER_MB
        before, self.state = self.state, f"{done:,} of {total:,} MB"
        return bool(self._bytes) and self.state != before
