"""Nodes and the tasks on them: one task a node at a time; what is lost with a node runs elsewhere, from its start.

Each task has a thread of the driver that waits for it; nothing of a task counts before all of it is there.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from hcopt.errors import BusyError, RuntimeStartError
from hcopt.job.cluster.nodes import NodeClass, alike, grouped
from hcopt.job.cluster.tasks import Probe
from hcopt.job.cluster.values import Cluster, LostError, Node, Outcome, Running, Task
from hcopt.records.json import JsonObject
from hcopt.records.measurement import Environment
from hcopt.records.note import Note

_STEP_S = 0.5
# A node that has lost so many tasks gets none any more: it is the node then, and no accident.
_MAX_LOSSES = 2
# A task that was lost so often is what kills the nodes.
_MAX_TRIES = 5
_MAX_PROBES = 64


@dataclass(slots=True, kw_only=True)
class NodeState:
    """What the driver knows of a node.

    Attributes:
        node: It.
        environment: Its fingerprint.
        steal_ratio: Seen while it looked at itself.
        tasks: How many tasks it has done; `losses`: lost.
        busy: Whether it has one now.
    """

    node: Node
    environment: Environment
    steal_ratio: float | None
    tasks: int = 0
    losses: int = 0
    busy: bool = False


@dataclass(slots=True, kw_only=True)
class Pool:
    """The nodes that can measure. Safe for threads.

    Attributes:
        cluster: Where they are.
        config: What a node is to be able to do, as JSON and without a login.
        note: Takes which nodes are left out.
        silence_s: A node that is silent for longer counts as lost; one that measures gives a sign every few seconds.
        start_s: How long a node may take until it begins to look at itself: it may have packages to install first. A
            task waits without a limit, since another run may have the node; that a node is gone the cluster says.
        patience_s: How long to wait for a node of a kind that has none left.
        clock: Seconds that only grow.
    """

    cluster: Cluster
    config: JsonObject
    note: Callable[[Note], None]
    silence_s: float = 60.0
    start_s: float = 1200.0
    patience_s: float = 120.0
    clock: Callable[[], float] = time.monotonic
    _states: dict[str, NodeState] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def classes(self) -> tuple[NodeClass, ...]:
        """The kinds of nodes that are there, each node looked at once.

        Raises:
            RuntimeStartError: There is none that can measure.
        """
        self._look()
        with self._changed:
            found = [(state.node, state.environment) for state in self._states.values()]
        if not found:
            raise RuntimeStartError(
                "no node of the cluster can measure: each needs the resource hcopt and CPUs. There are: "
                f"{self.cluster.described()}",
                remedy="Start each measuring node with: ray start --address HEAD:6379 --resources='{\"hcopt\": 1}'.",
            )
        return grouped(found)

    @property
    def states(self) -> tuple[NodeState, ...]:
        """All nodes that have been looked at, those that are lost included."""
        with self._changed:
            return tuple(self._states.values())

    def stop(self) -> None:
        """Ends all that is under way, in whatever threads."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def run(
        self,
        make: Callable[[Node], Task],
        shared: object,
        kind: Environment,
        *,
        begun: Callable[[Node], None],
        note: Callable[[Note], None],
        ended: Callable[[], bool] = lambda: False,
    ) -> tuple[Node, Outcome]:
        """One task on a node of a kind; waits until one is free, and begins again elsewhere where it is lost.

        Args:
            make: The task for a node.
            shared: See `Cluster.start`.
            kind: The fingerprint that the node has to have.
            begun: Takes the node when it begins there.
            note: Takes why it begins again elsewhere.
            ended: Whether the result is no longer wanted.

        Raises:
            RuntimeStartError: No node of the kind is left, or the task was lost too often.
            KeyboardInterrupt: `stop` was called, or the result is no longer wanted.
        """
        for _ in range(_MAX_TRIES):
            with self._free_node(kind, ended) as state:
                begun(state.node)
                try:
                    running = self.cluster.start(make(state.node), shared, state.node)
                    outcome = self._done(running, ended)
                    self._check(outcome, kind)
                except LostError as loss:
                    self._lost(state, str(loss))
                    note(Note.of("task_lost", node=state.node.name, reason=str(loss)))
                else:
                    state.tasks += 1
                    return state.node, outcome
        raise RuntimeStartError(
            f"a task was lost {_MAX_TRIES} times, each time with its node or the process there",
            remedy="Do the nodes have memory enough for the model? Try one of them alone, without --executor ray.",
        )

    def _done(
        self, running: Running, ended: Callable[[], bool] = lambda: False, *, start_s: float = math.inf
    ) -> Outcome:
        """Waits for the end of a task; whatever ends the wait ends the task.

        Raises:
            LostError: It is lost.
        """
        heard_at, allowed_s = self.clock(), start_s
        try:
            while True:
                self._check_wanted(ended)
                event = running.event(_STEP_S)
                if isinstance(event, Outcome):
                    return event
                if event is not None:
                    heard_at, allowed_s = self.clock(), self.silence_s
                elif self.clock() - heard_at > allowed_s:
                    raise LostError(f"no sign of life for {allowed_s:g} s")
        finally:
            running.cancel()

    def _check_wanted(self, ended: Callable[[], bool]) -> None:
        if self._stopped.is_set() or ended():
            raise KeyboardInterrupt("ended with the run")

    @staticmethod
    def _check(outcome: Outcome, kind: Environment) -> None:
        """Whether it was measured where and with what it should be.

        Raises:
            LostError: It was not, so that it does not count.
        """
        if outcome.failure is not None and outcome.failure.exit_code == BusyError.exit_code:
            raise LostError(outcome.failure.message)
        if outcome.environment is not None and not alike(outcome.environment, kind):
            raise LostError("it is no longer the machine that it was")

    def _lost(self, state: NodeState, reason: str) -> None:
        # Others may have gone with it, idle: no task is to lose a try with each.
        self._refuse_gone()
        with self._changed:
            state.losses += 1
            # One that is silent may still be measuring: what runs there beside it would be disturbed.
            if state.losses >= _MAX_LOSSES or "sign of life" in reason:
                self._refused.add(state.node.node_id)
            self._changed.notify_all()

    def _refuse_gone(self) -> set[str]:
        """The nodes that have been looked at and can measure no more, such as one that is being drained."""
        known = {one.node.node_id for one in self.states}
        gone = known - {node.node_id for node in self.cluster.nodes()}
        with self._changed:
            self._refused |= gone
        return gone

    @contextmanager
    def _free_node(self, kind: Environment, ended: Callable[[], bool]) -> Iterator[NodeState]:
        state = self._taken(kind, ended)
        try:
            yield state
        finally:
            with self._changed:
                state.busy = False
                self._changed.notify_all()

    def _taken(self, kind: Environment, ended: Callable[[], bool]) -> NodeState:
        none_since: float | None = None
        while True:
            self._check_wanted(ended)
            with self._changed:
                left = [state for state in self._fit() if alike(state.environment, kind)]
                free = min((one for one in left if not one.busy), key=lambda one: one.losses, default=None)
                if free is not None:
                    free.busy = True
                elif left:
                    none_since = None
                    self._changed.wait(_STEP_S)
                    continue
            if free is not None:
                if free.node.node_id not in self._refuse_gone():
                    return free
                free.busy = False
                continue
            none_since = self.clock() if none_since is None else none_since
            if self.clock() - none_since > self.patience_s:
                raise RuntimeStartError(
                    f"no node of this kind is left: {kind.cpu_model}, {kind.cpu_count} CPUs. There are: "
                    f"{self.cluster.described()}",
                    remedy="Bring such nodes back.",
                )
            # Nodes that the cluster has started in the place of those that are gone.
            self._look()
            time.sleep(_STEP_S)

    def _fit(self) -> list[NodeState]:
        """Those that may get a task."""
        return [state for state in self._states.values() if state.node.node_id not in self._refused]

    def _look(self) -> None:
        """Every node that is new looks at itself."""
        with self._looking:
            known = self._states.keys() | self._refused
            new = [node for node in self.cluster.nodes() if node.node_id not in known]
            if not new:
                return
            shared = self.cluster.share({})
            with ThreadPoolExecutor(min(len(new), _MAX_PROBES)) as threads:
                futures = [threads.submit(self._probed, node, shared) for node in new]
                try:
                    found = [future.result() for future in futures]
                except BaseException:
                    self.stop()
                    raise
            with self._changed:
                self._states.update({one.node.node_id: one for one in found if one is not None})
                self._changed.notify_all()

    def _probed(self, node: Node, shared: object) -> NodeState | None:
        try:
            running = self.cluster.start(Probe(config=self.config), shared, node)
            outcome = self._done(running, start_s=self.start_s)
        except LostError as loss:
            reason = str(loss)
        else:
            if outcome.environment is not None:
                return NodeState(node=node, environment=outcome.environment, steal_ratio=outcome.steal_ratio)
            reason = "unknown" if outcome.failure is None else outcome.failure.message
        self._refused.add(node.node_id)
        self.note(Note.of("node_left_out", node=node.name, reason=reason))
        return None
