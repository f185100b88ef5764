"""What travels between the driver and a node: a task there, events and an outcome back. Values only.

No login is among them: the configuration goes without any, and the model as files, so that a node needs no access to
where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hcopt.records.measurement import Environment, Measurement
from hcopt.records.note import Note
from hcopt.records.run import RunFailure

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of the cluster.

    Attributes:
        node_id: The cluster's own name of it; another one after each start.
        name: For people: its host name, with its address.
        cpu_count: CPUs that the cluster may give away there; a task takes them all.
    """

    node_id: str
    name: str
    cpu_count: float


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing has happened, and the node lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a task has come to.

    Attributes:
        environment: The conditions on the node; None where it came to no server.
        measurements: Everything that was measured; what was known before is not among it.
        found: The stage's own result.
        notes: What the user has to know.
        elapsed_s: Seconds a phase.
        files: By their names relative to the run's folder there.
        steal_ratio: Share of the node's CPU time that its hypervisor gave to others meanwhile.
        failure: Why there is no result.
    """

    environment: Environment | None = None
    measurements: tuple[Measurement, ...] = ()
    found: object = None
    notes: tuple[Note, ...] = ()
    elapsed_s: Mapping[str, float] = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    steal_ratio: float | None = None
    failure: RunFailure | None = None


Event = Beat | Outcome


class Task(Protocol):
    """Work for one node, which has the node to itself."""

    def perform(self, files: Files) -> Outcome:
        """Does it there with the files that were shared with it; a failure is an outcome, too."""


class LostError(Exception):
    """The node or the process there is gone, or does not answer any more; what it had measured is not known."""


class Running(Protocol):
    """A task under way."""

    def event(self, timeout_s: float) -> Event | None:
        """The next event; None where there is none in time.

        Raises:
            LostError: There will be none.
        """

    def cancel(self) -> None:
        """Ends it and all that it has started; does nothing where it has ended."""


class Cluster(Protocol):
    """Nodes, and a way to have a task done on each."""

    def nodes(self) -> tuple[Node, ...]:
        """Those that can measure now."""

    def described(self) -> str:
        """All nodes that there are and what they offer, for a message."""

    def share(self, files: Files) -> object:
        """Makes files known to all nodes; returns what `start` takes."""

    def start(self, task: Task, shared: object, node: Node) -> Running:
        """Sends a task to a node, where it waits until it has the node to itself."""
