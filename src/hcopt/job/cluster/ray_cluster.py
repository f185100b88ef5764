"""The nodes of a Ray cluster. The only module that imports Ray, which is an extra.

Source: Ray's documentation, Core: Scheduling (node affinity, resources), Streaming generators, Runtime environments.
"""

from __future__ import annotations

import importlib.metadata
import logging
import queue
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from packaging.requirements import Requirement
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import hcopt
from hcopt.errors import HcoptError, RuntimeStartError
from hcopt.job.cluster.values import Beat, Event, Files, LostError, Node, Outcome, Running, Task
from hcopt.records.json import JsonObject
from hcopt.records.run import RunFailure
from hcopt.system.environ import environment_variable
from hcopt.system.process import detach_watchdog

# Each measuring node has one of it, so that one task at a time has the node.
RESOURCE = "hcopt"
_BEAT_S = 5.0
_MAX_REASON_LENGTH = 300
_CONNECT_S = 10.0
_CURRENT = Path("/tmp/ray/ray_current_cluster")
_END_S = 10.0
_START_ONE = (
    "Start one (ray start --head), or give its head as --address HOST:6379. Ray and Python have to be of the same "
    "version there and here."
)
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def connected(address: str, *, bring_package: bool) -> Iterator[RayCluster]:
    """A Ray cluster, for as long as the context lasts; what runs there for it ends with that.

    Args:
        address: Of its head, host:port; `auto`: the one that this machine is part of.
        bring_package: Whether the nodes get hcopt and its dependencies from here; else they have them.

    Raises:
        RuntimeStartError: There is no such cluster, or it is of another Ray or Python.
    """
    if address.startswith("ray://"):
        raise RuntimeStartError(
            f"{address} is an address for Ray's client, which passes on no signs of life of the nodes",
            remedy="Start hcopt on a machine of the cluster, or there with `ray job submit`, and --address auto.",
        )
    _check_answers(address)
    handlers = {number: signal.getsignal(number) for number in _HANDLED}
    try:
        ray.init(
            address=address,
            runtime_env=_own_code() if bring_package else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            namespace="hcopt",
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise RuntimeStartError(
            f"no Ray cluster at {address}: {_short(error)}",
            remedy=_START_ONE,
        ) from error
    finally:
        # Ray puts its own in their place.
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
    try:
        # Of the tasks, and not of the whole job: the head, which measures nothing, would install them too.
        yield RayCluster(task_env=_dependencies() if bring_package else {})
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would go on trying for many minutes.

    Raises:
        RuntimeStartError: Nobody listens there.
    """
    if address == "auto":
        # What Ray itself goes by: where the last cluster that was started here is gone, its address is still there.
        with suppress(OSError):
            address = _CURRENT.read_text(encoding="utf-8").strip()
        address = environment_variable("RAY_ADDRESS") or address
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise RuntimeStartError(f"no Ray cluster at {address}: {error}", remedy=_START_ONE) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """See `Cluster`.

    Attributes:
        task_env: The runtime environment of a task, beyond that of all.
    """

    task_env: JsonObject

    def nodes(self) -> tuple[Node, ...]:
        """See `Cluster.nodes`: those that are alive, are not being drained, and have the resource."""
        draining = _draining()
        return tuple(
            Node(
                node_id=one["NodeID"],
                name=f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']}, {one['NodeID'][:6]})",
                cpu_count=one["Resources"]["CPU"],
            )
            for one in _listed()
            if one["Alive"] and one["NodeID"] not in draining
            if one["Resources"].get(RESOURCE, 0) >= 1 and one["Resources"].get("CPU", 0) >= 1
        )

    def described(self) -> str:
        """See `Cluster.described`."""
        there = [one for one in _listed() if one["Alive"]]
        shown = (
            f"{one['NodeManagerHostname']} ({one['Resources'].get('CPU', 0):g} CPUs, "
            f"{RESOURCE}: {one['Resources'].get(RESOURCE, 0):g})"
            for one in there
        )
        return ", ".join(shown) or "none"

    def share(self, files: Files) -> object:
        """See `Cluster.share`: once in the object store, from where nodes pass it on to one another."""
        return ray.put(dict(files))

    def start(self, task: Task, shared: Any, node: Node) -> Running:
        """See `Cluster.start`."""
        strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        options = _on_node.options(
            num_cpus=node.cpu_count,
            resources={RESOURCE: 1},
            scheduling_strategy=strategy,
            runtime_env=self.task_env,
            name=type(task).__name__,
        )
        return _RayRunning(options.remote(task, shared))


def _listed() -> list[JsonObject]:
    found: list[JsonObject] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def _draining() -> Collection[str]:
    """Nodes that Ray gives no further task; what is pinned to one of them would wait for ever."""
    # There is no public way to ask; Ray's own libraries ask so. Where a version has it elsewhere, such a node shows
    # itself by what it loses.
    with suppress(AttributeError, ray.exceptions.RayError):
        found: dict[str, int] = ray._private.state.state.get_draining_nodes()
        return found
    return ()


class _RayRunning:
    def __init__(self, events: Any) -> None:
        self._events = events
        self._ended = False

    def event(self, timeout_s: float) -> Event | None:
        """See `Running.event`."""
        try:
            ready, _ = ray.wait([self._events], timeout=timeout_s, fetch_local=False)
            if not ready:
                return None
            found: Event = ray.get(next(self._events))
            if isinstance(found, Outcome):
                self._see_the_end()
        except StopIteration as error:
            self._ended = True
            raise LostError("it ended without a result") from error
        except ray.exceptions.RuntimeEnvSetupError as error:
            self._ended = True
            raise LostError(
                f"it cannot get hcopt's packages: {_short(error)}; where nodes have hcopt themselves: "
                "--set executor.package=installed"
            ) from error
        except ray.exceptions.RayError as error:
            self._ended = True
            raise LostError(_short(error)) from error
        return found

    def _see_the_end(self) -> None:
        """After the last event the task returns: to cancel it in this moment ends the driver (seen with Ray 2.60)."""
        self._ended = True
        ready, _ = ray.wait([self._events], timeout=_END_S, fetch_local=False)
        with suppress(StopIteration, ray.exceptions.RayError):
            for _ in ready:
                next(self._events)

    def cancel(self) -> None:
        """See `Running.cancel`: kills the process there, whose watchdog ends what it has started."""
        if self._ended:
            return
        self._ended = True
        with suppress(ray.exceptions.RayError, ValueError):
            ray.cancel(self._events, force=True)


def _performed(task: Task, files: Files, put: Callable[[Event], None]) -> None:
    try:
        put(task.perform(files))
    except Exception as error:  # noqa: BLE001 - the driver has to be told, whatever it is
        said = error.message if isinstance(error, HcoptError) else f"unexpected {type(error).__name__}: {error}"
        put(Outcome(failure=RunFailure(exit_code=1, message=f"on the node: {said}")))


@ray.remote(max_retries=0, num_returns="streaming")
def _on_node(task: Task, files: Files) -> Iterator[Event]:
    """Everything that happens there, as it happens, and a sign of life where nothing does."""
    # Ray kills the children of a worker that it ends: nobody would be left to end theirs, and to remove the folders.
    detach_watchdog()
    yield Beat()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    threading.Thread(target=_performed, args=(task, files, events.put), daemon=True).start()
    while True:
        try:
            event: Event = events.get(timeout=_BEAT_S)
        except queue.Empty:
            event = Beat()
        yield event
        if isinstance(event, Outcome):
            return


def _own_code() -> JsonObject:
    """This very hcopt."""
    return {"py_modules": [str(Path(hcopt.__file__).parent)], "excludes": ["**/__pycache__"]}


def _dependencies() -> JsonObject:
    """The very versions that are installed here."""
    return {"pip": {"packages": _pins(), "pip_check": False}}


def _pins() -> list[str]:
    """All dependencies of hcopt and theirs, as `name==version`; those of the extra `embedded` where it is installed."""
    found: dict[tuple[str, frozenset[str]], str] = {}
    waiting = [(Requirement(text), frozenset({"", "embedded"})) for text in importlib.metadata.requires("hcopt") or ()]
    while waiting:
        wanted, asked = waiting.pop()
        key = (wanted.name, frozenset(wanted.extras))
        needless = wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in asked)
        if needless or key in found:
            continue
        with suppress(importlib.metadata.PackageNotFoundError):
            distribution = importlib.metadata.distribution(wanted.name)
            found[key] = f"{distribution.name}=={distribution.version}"
            extras = frozenset({"", *wanted.extras})
            waiting += [(Requirement(text), extras) for text in distribution.requires or ()]
    return sorted(set(found.values()))


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_MAX_REASON_LENGTH]
