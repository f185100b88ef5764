"""A Triton that somebody else runs: measured with the programs of this machine, and left as it was found."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hcopt.errors import ConfigError, RuntimeStartError
from hcopt.records.measurement import Backend, Environment
from hcopt.records.note import Note
from hcopt.system.machine import read_environment
from hcopt.system.signals import deferred_signals
from hcopt.triton.base import Endpoint
from hcopt.triton.carried import read_carried
from hcopt.triton.control import ModelControl
from hcopt.triton.local_tools import LocalTools, check_cpuset, install_tools, private_folder
from hcopt.triton.programs import find_perf_analyzer
from hcopt.triton.ready import RESPONSE_CACHE, Health, health, server_settings, shows_metrics
from hcopt.triton.served_backend import served_backend

_ADDRESS = re.compile(r"(?:(?:grpc|http)://)?(?P<host>[^\s/:@]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})/?")
_HERE = ("localhost", "127.0.0.1", "[::1]")
# Triton refuses to unload anything, also what it does not have, unless its mode is explicit.
_NO_MODEL = "hcopt_asks_whether_models_may_be_unloaded"
_NOT_EXPLICIT = "not allowed"
_PATIENCE_S = 10.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteServer:
    """A Triton of somebody else's.

    Attributes:
        endpoint: Its addresses.
        tools: The measuring programs of this environment.
        environment: The conditions that go with every figure, as far as they can be told from here.
    """

    endpoint: Endpoint
    tools: LocalTools
    environment: Environment

    def mark_unhealthy(self, what: str) -> None:
        """Does nothing: only its owner can start it again."""

    @property
    def max_instances(self) -> None:
        """See `Server.max_instances`: the memory is somebody else's."""

    def memory_mb(self) -> None:
        """See `Server.memory_mb`: it may be on another machine."""

    def restart(self) -> None:
        """See `Server.restart`."""

    def restart_if_dead(self) -> None:
        """Does nothing while the server answers.

        Raises:
            RuntimeStartError: It has stopped, and only its owner can start it again.
        """
        found = _health_within(self.endpoint, lambda found: found is not None)
        if found is None:
            raise RuntimeStartError(f"the Triton at {self.endpoint.http} does not answer any more")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRuntime:
    """Takes a Triton that runs already.

    Attributes:
        endpoint: Its addresses.
        note: Takes what the user has to know.
        cpuset_client: The CPUs of the measuring programs.
        carries_models: Whether the models travel inside of the load requests, so that the server needs none of them in
            its repository; else it measures the server's own copy.
    """

    endpoint: Endpoint
    note: Callable[[Note], None]
    cpuset_client: str | None = None
    carries_models: bool = False

    @contextmanager
    def serve(self, repository: Path, run_folder: Path) -> Iterator[RemoteServer]:
        """Takes the server over for as long as the context lasts, then puts its models back as they were.

        Args:
            repository: The model repository as hcopt made it. Where the server's own copy is measured only the model's
                name counts; models that are carried have names that the server does not have.
            run_folder: The run's folder; gets a `logs/` for the programs, the server's own is its owner's.

        Raises:
            RuntimeStartError: It does not answer, does not let models be loaded, or does not have this one.
        """
        check_cpuset("runtime.cpuset.client", self.cpuset_client)
        (run_folder / "logs").mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in repository.iterdir())
        carried = read_carried(repository) if self.carries_models else {}
        version = _check_answers(self.endpoint)
        with ModelControl(self.endpoint) as control, private_folder() as folder:
            control.server_version()  # or gRPC does not answer
            _check_explicit(control, self.endpoint)
            if not self.carries_models:
                _check_has(control, self.endpoint, names[0])
            programs = install_tools(folder)
            self.note(self._what_is_measured(names[0]))
            with self._put_back(control, names):
                settings = list[str]()
                backend = served_backend(
                    self.endpoint,
                    names[0],
                    carried=carried,
                    while_loaded=lambda: settings.extend(server_settings(self.endpoint, names[0])),
                )
                if slowing := [setting for setting in settings if setting != RESPONSE_CACHE]:
                    self.note(Note.of("remote_settings", server=self.endpoint.grpc, settings=", ".join(slowing)))
                yield RemoteServer(
                    endpoint=self.endpoint,
                    tools=LocalTools(
                        endpoint=self.endpoint, programs=programs, private_folder=folder, cpuset=self.cpuset_client
                    ),
                    environment=_environment(self.endpoint, version, backend, settings),
                )

    @contextmanager
    def _put_back(self, control: ModelControl, names: Iterable[str]) -> Iterator[None]:
        loaded = {name: control.active_config(name) if control.is_ready(name) else None for name in names}
        try:
            yield
        finally:
            with deferred_signals():
                for name, config in loaded.items():
                    self._restore(control, name, config)

    def _restore(self, control: ModelControl, name: str, config: str | None) -> None:
        try:
            if config is None:
                control.unload(name)
            else:
                control.load(name, config)
        except RuntimeStartError as error:
            self.note(Note.of("remote_not_put_back", name=name, reason=error.message))

    def _what_is_measured(self, name: str) -> Note:
        if self.carries_models:
            return Note.of("remote_models_sent", server=self.endpoint.grpc)
        return Note.of("remote_own_copy", name=name, server=self.endpoint.grpc)


def remote_endpoint(grpc: str | None, http: str | None = None, metrics: str | None = None) -> Endpoint:
    """The addresses of a remote server; what is not given is next to the gRPC port, as Triton has it by default.

    Args:
        grpc: host:port, with grpc:// in front or without.
        http: host:port; by default the port before that of gRPC.
        metrics: A URL; by default at the port after that of gRPC.

    Raises:
        ConfigError: An address is missing, or is none.
    """
    if grpc is None:
        raise ConfigError(
            "runtime remote needs the address of the server",
            remedy="Give --endpoint grpc://HOST:8001, or set runtime.remote.grpc.",
        )
    host, port = _parts("runtime.remote.grpc", grpc)
    http_host, http_port = (host, port - 1) if http is None else _parts("runtime.remote.http", http)
    return Endpoint(
        grpc=f"{host}:{port}",
        http=f"{http_host}:{http_port}",
        metrics_url=metrics or f"http://{host}:{port + 1}/metrics",
    )


def _parts(key: str, text: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(f"{key} is {text!r}: expected HOST:PORT, such as grpc://triton.example:8001")
    return found["host"], int(found["port"])


def _check_answers(endpoint: Endpoint) -> str:
    """The server's version."""
    # A model that is on its way out makes it not ready for a moment.
    found = _health_within(endpoint, lambda found: found is None or found.ready)
    if found is None:
        raise RuntimeStartError(
            f"no Triton answers at http://{endpoint.http}",
            remedy="Check the address and that the server runs; where its HTTP port is not the one before its gRPC "
            "port, set runtime.remote.http.",
        )
    if not found.ready:
        raise RuntimeStartError(
            f"the Triton at http://{endpoint.http} says that it is not ready, and Model Analyzer would wait in vain",
            remedy="One of its models may have failed to load: its owner has to load that one well, or to start the "
            "server with --strict-readiness=false.",
        )
    if not shows_metrics(endpoint.metrics_url):
        raise RuntimeStartError(
            f"Triton's metrics are not at {endpoint.metrics_url}, and Model Analyzer does not go without",
            remedy="Set runtime.remote.metrics to their URL; the server must not run with --allow-metrics=false.",
        )
    return found.version


def _health_within(endpoint: Endpoint, enough: Callable[[Health | None], bool]) -> Health | None:
    """How the server is, as soon as that is enough, or the patience is over."""
    deadline = time.monotonic() + _PATIENCE_S
    while not enough(found := health(endpoint.http)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return found


def _check_explicit(control: ModelControl, endpoint: Endpoint) -> None:
    try:
        control.unload(_NO_MODEL)
    except RuntimeStartError as error:
        if _NOT_EXPLICIT not in error.message:
            raise
        raise RuntimeStartError(
            f"the Triton at {endpoint.grpc} does not let models be loaded and unloaded",
            remedy="Its owner has to start it with --model-control-mode=explicit.",
        ) from error


def _check_has(control: ModelControl, endpoint: Endpoint, name: str) -> None:
    models = control.repository_models()
    # A model can travel inside of a load request, but Model Analyzer's own requests would not carry it.
    if name not in models:
        raise RuntimeStartError(
            f"the Triton at {endpoint.grpc} has no model {name} in its repository, only: {', '.join(models) or 'none'}",
            remedy=f"Run `hcopt fetch` with the same --model and --set, copy results/model_repository/{name} into the "
            "server's model repository, then run this again.",
        )


def _environment(endpoint: Endpoint, version: str, backend: Backend, settings: Sequence[str]) -> Environment:
    """What is known of the conditions."""
    read = read_environment(
        runtime="remote",
        backend=backend,
        triton_version=version,
        onnxruntime_version=None,
        perf_analyzer_version=find_perf_analyzer().version,
    )
    found = replace(read, server_settings=", ".join(settings) or None)
    if endpoint.grpc.startswith(_HERE):
        return found
    return replace(found, cpu_model=f"of the server at {endpoint.grpc}, unknown (CPUs and memory are the client's)")
