"""An in-memory cluster whose nodes play what they are told; nothing in it takes time but what a play waits for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from hcopt.job.cluster.tasks import Probe
from hcopt.job.cluster.values import Beat, Event, Files, LostError, Node, Outcome, Running, Task
from hcopt.records.measurement import Environment
from tests.support.records import run_record

KIND = run_record().environment
OTHER_KIND = replace(KIND, cpu_model="Another CPU")

# What happens on a node, in order; None: nothing does, for as long as somebody is willing to wait.
Play = Callable[[Task, Node], Iterator[Event | None]]


@dataclass
class Clock:
    """Goes on only where a test says so."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


def node(name: str) -> Node:
    return Node(node_id=f"id-of-{name}", name=name, cpu_count=8.0)


def ends(outcome: Outcome) -> Play:
    """A task that comes to this."""

    def play(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        yield outcome

    return play


def breaks(error: Exception) -> Play:
    """A task whose node or process is lost, or that cannot be run."""

    def play(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        raise error

    return play


def in_turn(*plays: Play) -> Play:
    """One play a task, in the order in which they are started; the last one for all that follow."""
    left, choosing = list(plays), threading.Lock()

    def play(task: Task, where: Node) -> Iterator[Event | None]:
        with choosing:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        yield from chosen(task, where)

    return play


@dataclass
class FakeRunning:
    """One task that was started."""

    task: Task
    node: Node
    events: Iterator[Event | None]
    over: Callable[[], None]
    canceled: bool = False

    def event(self, timeout_s: float) -> Event | None:
        try:
            found = next(self.events)
        except StopIteration:
            raise LostError("it ended without a result") from None
        if found is None:
            time.sleep(timeout_s)
        return found

    def cancel(self) -> None:
        if not self.canceled:
            self.canceled = True
            self.over()


@dataclass
class FakeCluster:
    """A `Cluster`. A task counts as under way until it is canceled, as it has to be whatever becomes of it."""

    there: list[Node]
    play: Play = field(default_factory=lambda: ends(Outcome(environment=KIND)))
    kinds: dict[str, Environment] = field(default_factory=dict)
    probes: dict[str, Play] = field(default_factory=dict)
    looked: Callable[[int], None] = lambda _: None
    looks: int = 0
    started: list[FakeRunning] = field(default_factory=list)
    shared: list[Files] = field(default_factory=list)
    most_at_once: Counter[str] = field(default_factory=Counter)
    _now: Counter[str] = field(default_factory=Counter)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def tasks(self) -> list[FakeRunning]:
        return [one for one in self.started if not isinstance(one.task, Probe)]

    @property
    def places(self) -> list[str]:
        """Where tasks were started, in order."""
        return [one.node.name for one in self.tasks]

    @property
    def probed(self) -> list[str]:
        return [one.node.name for one in self.started if isinstance(one.task, Probe)]

    def nodes(self) -> tuple[Node, ...]:
        self.looks += 1
        self.looked(self.looks)
        return tuple(self.there)

    def described(self) -> str:
        return ", ".join(f"{one.name} ({one.cpu_count:g} CPUs)" for one in self.there) or "none"

    def share(self, files: Files) -> object:
        self.shared.append(files)
        return files

    def start(self, task: Task, shared: object, node: Node) -> Running:
        with self._counting:
            self._now[node.name] += 1
            self.most_at_once[node.name] = max(self.most_at_once[node.name], self._now[node.name])
            found = FakeRunning(task, node, self._events(task, node), lambda: self._over(node))
            self.started.append(found)
        return found

    def _events(self, task: Task, where: Node) -> Iterator[Event | None]:
        if not isinstance(task, Probe):
            return self.play(task, where)
        if where.name in self.probes:
            return self.probes[where.name](task, where)
        return ends(Outcome(environment=self.kinds.get(where.name, KIND), steal_ratio=0.01))(task, where)

    def _over(self, where: Node) -> None:
        with self._counting:
            self._now[where.name] -= 1

    def remove(self, name: str) -> None:
        self.there = [one for one in self.there if one.name != name]
