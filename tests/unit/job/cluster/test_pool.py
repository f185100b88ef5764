"""Who gets which task, and what becomes of one that is lost; on a cluster that only plays."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hcopt.errors import BusyError, RuntimeStartError
from hcopt.job.cluster import pool as pool_module
from hcopt.job.cluster.pool import Pool
from hcopt.job.cluster.values import Beat, Event, Files, LostError, Node, Outcome, Task
from hcopt.records.measurement import Environment
from hcopt.records.note import Note
from hcopt.records.run import RunFailure
from tests.support.fake_cluster import KIND, OTHER_KIND, Clock, FakeCluster, Play, breaks, ends, in_turn, node
from tests.support.notes import said
from tests.support.records import HEAVY, LIGHT, default_variant, measurement

FIRST, SECOND = (measurement(default_variant(), load, (1000.0, 5.0)) for load in (LIGHT, HEAVY))
DONE = Outcome(environment=KIND, measurements=(SECOND,))
BUSY = RunFailure(exit_code=BusyError.exit_code, message="another hcopt measures on this machine")
REFUSED = RunFailure(exit_code=4, message="Triton does not serve")
# Only for a test that would hang.
LIMIT_S = 30.0


@dataclass(frozen=True)
class Work:
    """A `Task`; the cluster's play is what happens."""

    where: Node

    def perform(self, files: Files) -> Outcome:
        raise AssertionError("nothing is performed here")


@dataclass
class Scene:
    """A pool over a cluster, with what it said."""

    cluster: FakeCluster
    clock: Clock = field(default_factory=Clock)
    left_out: list[Note] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = Pool(
            cluster=self.cluster, config={"some": "config"}, note=self.left_out.append, clock=self.clock, silence_s=60.0
        )
        self.pool.classes()

    def run(self, kind: Environment = KIND, ended: Callable[[], bool] = lambda: False) -> tuple[Node, Outcome]:
        return self.pool.run(
            Work,
            "the model",
            kind,
            begun=lambda where: self.begun.append(where.name),
            note=self.notes.append,
            ended=ended,
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for an event or a node looks again at once."""
    monkeypatch.setattr(pool_module, "_STEP_S", 0.001)


@pytest.fixture
def scene() -> Iterator[Callable[..., Scene]]:
    """A scene with nodes of these names; whatever happens in it, all that was started is ended."""
    made: list[Scene] = []

    def make(*names: str, **changes: Any) -> Scene:
        made.append(Scene(FakeCluster([node(name) for name in names], **changes)))
        return made[-1]

    yield make
    for one in made:
        assert one.cluster.started
        assert all(running.canceled for running in one.cluster.started)
        assert set(one.cluster.most_at_once.values()) == {1}
        assert not any(state.busy for state in one.pool.states)


Make = Callable[..., Scene]


# --- one task a node -------------------------------------------------------------------------------------------------


def test_each_node_has_one_task_at_a_time_and_none_is_idle(scene: Make) -> None:
    # Each task ends only while two others are under way.
    meeting = threading.Barrier(3)

    def play(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        meeting.wait(LIMIT_S)
        yield DONE

    found = scene("a", "b", "c", play=play)
    with ThreadPoolExecutor(9) as threads:
        outcomes = [future.result() for future in [threads.submit(found.run) for _ in range(9)]]
    assert found.cluster.most_at_once == {"a": 1, "b": 1, "c": 1}
    assert Counter(where.name for where, _ in outcomes) == Counter(found.cluster.places)
    assert {state.node.name for state in found.pool.states if state.tasks} == {"a", "b", "c"}
    assert sum(state.tasks for state in found.pool.states) == 9


def test_task_gets_a_node_of_its_kind_only(scene: Make) -> None:
    found = scene("a", "b", kinds={"b": OTHER_KIND}, play=ends(Outcome(environment=OTHER_KIND)))
    assert [found.run(OTHER_KIND)[0].name for _ in range(3)] == ["b", "b", "b"]


def test_task_is_made_for_its_node_and_lasts_until_its_outcome(scene: Make) -> None:
    def play(task: Task, where: Node) -> Iterator[Event | None]:
        yield from (Beat(), None, Beat(), DONE)

    found = scene("a", play=play)
    assert found.run() == (node("a"), DONE)
    assert found.begun == ["a"]
    assert [running.task for running in found.cluster.tasks] == [Work(node("a"))]
    assert found.notes == []


def test_failure_of_the_work_itself_is_an_outcome_and_not_tried_again(scene: Make) -> None:
    failed = Outcome(environment=KIND, failure=REFUSED)
    found = scene("a", "b", play=ends(failed))
    assert found.run()[1] == failed
    assert len(found.cluster.tasks) == 1


def test_cluster_that_can_run_a_task_nowhere_ends_it(scene: Make) -> None:
    found = scene("a", "b", play=breaks(RuntimeStartError("the node cannot get hcopt's packages")))
    with pytest.raises(RuntimeStartError, match="packages"):
        found.run()
    assert len(found.cluster.tasks) == 1


# --- lost tasks ------------------------------------------------------------------------------------------------------


def test_lost_task_begins_again_elsewhere_and_nothing_of_its_first_part_counts(scene: Make) -> None:
    def lost(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        raise LostError("the process was killed")

    found = scene("a", "b", play=in_turn(lost, ends(DONE)))
    where, outcome = found.run()
    assert found.cluster.places == ["a", "b"]
    assert (where, outcome) == (node("b"), DONE)
    assert found.begun == ["a", "b"]
    [note] = found.notes
    assert "lost on a (the process was killed)" in said(note)
    assert {state.node.name: (state.tasks, state.losses) for state in found.pool.states} == {"a": (0, 1), "b": (1, 0)}


def test_task_that_ends_without_a_result_is_lost(scene: Make) -> None:
    found = scene("a", "b", play=in_turn(lambda _task, _where: iter((Beat(),)), ends(DONE)))
    assert found.run()[0] == node("b")


def test_node_that_has_lost_two_tasks_gets_none_any_more(scene: Make) -> None:
    found = scene("a", play=in_turn(breaks(LostError("1")), breaks(LostError("2")), ends(DONE)))

    def looked(_: int) -> None:
        # It has nothing else to choose until then.
        if len(found.cluster.tasks) == 2 and len(found.cluster.there) == 1:
            found.cluster.there.append(node("b"))

    found.cluster.looked = looked
    assert found.run()[0] == node("b")
    assert found.cluster.places == ["a", "a", "b"]
    assert [found.run()[0].name for _ in range(2)] == ["b", "b"]


def test_node_with_fewer_losses_comes_first(scene: Make) -> None:
    found = scene("a", "b", play=in_turn(breaks(LostError("gone")), ends(DONE)))
    assert [found.run()[0].name for _ in range(3)] == ["b", "b", "b"]


def test_node_that_is_gone_is_not_used_again(scene: Make) -> None:
    def dies(task: Task, where: Node) -> Iterator[Event | None]:
        found.cluster.remove(where.name)
        yield from ()

    found = scene("a", "b", play=in_turn(dies, breaks(LostError("an accident")), ends(DONE)))
    assert found.run()[0] == node("b")
    assert found.cluster.places == ["a", "b", "b"]


def test_idle_nodes_that_are_gone_with_another_do_not_use_up_the_tries(scene: Make) -> None:
    def play(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        if where not in found.cluster.there:
            raise LostError("the node is dead")
        yield DONE

    found = scene(*"abcdefg", play=play)
    found.cluster.there = [node("g")]
    assert found.run()[0] == node("g")


def test_node_that_can_measure_no_more_gets_no_task(scene: Make) -> None:
    found = scene("a", "b", play=ends(DONE))
    found.cluster.remove("a")
    assert [found.run()[0] for _ in range(3)] == [node("b")] * 3
    assert found.notes == []
    assert found.cluster.places == ["b"] * 3


def test_node_that_comes_back_under_a_new_id_is_another_one(scene: Make) -> None:
    again = replace(node("a"), node_id="its second start")

    def dies(task: Task, where: Node) -> Iterator[Event | None]:
        found.cluster.there = [again]
        yield from ()

    found = scene("a", play=in_turn(dies, ends(DONE)))
    assert found.run()[0] == again
    assert found.cluster.probed == ["a", "a"]


def test_silent_node_has_lost_its_task_and_gets_none_any_more(scene: Make) -> None:
    def falls_silent(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        found.clock.forward(60)
        yield None
        found.clock.forward(1)
        yield None
        raise AssertionError("somebody still waits")

    found = scene("a", "b", play=in_turn(falls_silent, breaks(LostError("an accident")), ends(DONE)))
    assert found.run()[0] == node("b")
    assert found.cluster.places == ["a", "b", "b"]
    assert "no sign of life for 60 s" in said(found.notes[0])


def test_sign_of_life_is_enough_however_long_a_task_takes(scene: Make) -> None:
    def slow(task: Task, where: Node) -> Iterator[Event | None]:
        for _ in range(100):
            found.clock.forward(59)
            yield None
            yield Beat()
        yield DONE

    found = scene("a", play=slow)
    assert found.run() == (node("a"), DONE)


def test_task_waits_without_a_limit_until_it_begins(scene: Make) -> None:
    def waits(task: Task, where: Node) -> Iterator[Event | None]:
        found.clock.forward(100_000)
        yield None
        yield DONE

    found = scene("a", play=waits)
    assert found.run()[0] == node("a")
    assert found.notes == []


def test_outcome_of_another_machine_does_not_count(scene: Make) -> None:
    changed = Outcome(environment=replace(KIND, governor="powersave"), measurements=(FIRST,))
    found = scene("a", "b", play=in_turn(ends(changed), ends(DONE)))
    assert found.run() == (node("b"), DONE)
    assert "no longer the machine" in said(found.notes[0])


def test_task_runs_elsewhere_where_somebody_else_measures(scene: Make) -> None:
    found = scene("a", "b", play=in_turn(ends(Outcome(failure=BUSY)), ends(DONE)))
    assert found.run() == (node("b"), DONE)
    assert BUSY.message in said(found.notes[0])


def test_task_that_is_lost_five_times_is_given_up(scene: Make) -> None:
    found = scene("a", "b", "c", "d", play=breaks(LostError("out of memory")))
    with pytest.raises(RuntimeStartError, match="lost 5 times") as caught:
        found.run()
    assert "memory enough" in (caught.value.remedy or "")
    assert len(found.cluster.tasks) == len(found.notes) == 5
    assert max(Counter(found.cluster.places).values()) <= 2


# --- no node left -----------------------------------------------------------------------------------------------------


def test_waits_for_a_node_of_the_kind_and_then_says_what_there_is(scene: Make) -> None:
    found = scene("a", "b", kinds={"b": OTHER_KIND})
    found.cluster.play = breaks(LostError("gone"))
    found.cluster.looked = lambda _: found.clock.forward(10)
    before = found.cluster.looks
    with pytest.raises(RuntimeStartError, match="no node of this kind is left") as caught:
        found.run()
    assert KIND.cpu_model in caught.value.message
    assert "There are: a (8 CPUs), b (8 CPUs)" in caught.value.message
    assert caught.value.remedy
    assert found.cluster.places == ["a", "a"]
    # 120 s of patience at 10 s a look, beside one look before each task and one after its loss.
    assert found.cluster.looks - before == 4 + 13


def test_new_node_is_looked_at_and_gets_the_task(scene: Make) -> None:
    def dies(task: Task, where: Node) -> Iterator[Event | None]:
        found.cluster.remove(where.name)
        yield from ()

    found = scene("a", play=in_turn(dies, ends(DONE)))

    def looked(count: int) -> None:
        found.clock.forward(10)
        if count == 5:
            found.cluster.there += [node("other"), node("new")]

    found.cluster.kinds["other"] = OTHER_KIND
    found.cluster.looked = looked
    assert found.run() == (node("new"), DONE)
    assert found.cluster.probed[0] == "a"
    assert sorted(found.cluster.probed[1:]) == ["new", "other"]


def test_new_node_is_looked_at_once_by_all_who_wait(scene: Make) -> None:
    found = scene("a")
    found.cluster.play = in_turn(breaks(LostError("1")), breaks(LostError("2")), ends(DONE))
    waiting = threading.Barrier(3, action=lambda: found.cluster.there.append(node("new")))

    def ended() -> bool:
        # Asked in every round of waiting: the node comes when all three wait.
        if len(found.cluster.tasks) == 2 and found.pool.states[0].losses == 2 and len(found.cluster.there) == 1:
            waiting.wait(LIMIT_S)
        return False

    with ThreadPoolExecutor(3) as threads:
        outcomes = [future.result() for future in [threads.submit(found.run, KIND, ended) for _ in range(3)]]
    assert [where.name for where, _ in outcomes] == ["new"] * 3
    assert found.cluster.probed == ["a", "new"]


# --- looking at nodes -------------------------------------------------------------------------------------------------


def bare_pool(cluster: FakeCluster, notes: list[Note]) -> Pool:
    return Pool(cluster=cluster, config={}, note=notes.append, clock=Clock())


def test_no_node_is_told_with_what_is_asked_for_and_what_there_is() -> None:
    cluster = FakeCluster([])
    with pytest.raises(RuntimeStartError) as caught:
        bare_pool(cluster, []).classes()
    assert "each needs the resource hcopt and CPUs. There are: none" in caught.value.message
    assert "--resources='{\"hcopt\": 1}'" in (caught.value.remedy or "")
    assert cluster.started == []


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (ends(Outcome(failure=REFUSED)), REFUSED.message),
        (ends(Outcome(failure=BUSY)), BUSY.message),
        (ends(Outcome()), "unknown"),
        (breaks(LostError("the process was killed")), "the process was killed"),
    ],
)
def test_node_that_cannot_be_looked_at_is_left_out_with_a_note(play: Play, reason: str) -> None:
    cluster, notes = FakeCluster([node("a"), node("b")], probes={"a": play}), list[Note]()
    pool = bare_pool(cluster, notes)
    [kind] = pool.classes()
    assert kind.nodes == [node("b")]
    [note] = notes
    assert said(note) == f"a takes no part: {reason}"
    assert pool.classes() == (kind,)
    assert sorted(cluster.probed) == ["a", "b"], "each was looked at once"
    assert all(running.canceled for running in cluster.started)


def test_node_that_does_not_begin_to_look_in_time_is_left_out() -> None:
    clock, notes = Clock(), list[Note]()

    def never(task: Task, where: Node) -> Iterator[Event | None]:
        clock.forward(1201)
        yield None
        raise AssertionError("somebody still waits")

    cluster = FakeCluster([node("a"), node("b")], probes={"a": never})
    [kind] = Pool(cluster=cluster, config={}, note=notes.append, clock=clock).classes()
    assert kind.nodes == [node("b")]
    assert said(notes[0]) == "a takes no part: no sign of life for 1200 s"


def test_where_no_node_can_measure_each_is_told_why() -> None:
    cluster, notes = FakeCluster([node("a")], probes={"a": ends(Outcome(failure=REFUSED))}), list[Note]()
    with pytest.raises(RuntimeStartError, match=r"There are: a \(8 CPUs\)"):
        bare_pool(cluster, notes).classes()
    assert REFUSED.message in said(notes[0])


def test_kinds_come_with_their_nodes_and_what_they_saw() -> None:
    cluster = FakeCluster([node(name) for name in "abc"], kinds={"a": OTHER_KIND})
    pool = bare_pool(cluster, [])
    kinds = pool.classes()
    assert [(kind.environment, [one.name for one in kind.nodes]) for kind in kinds] == [
        (KIND, ["b", "c"]),
        (OTHER_KIND, ["a"]),
    ]
    assert [state.steal_ratio for state in pool.states] == [0.01] * 3


def test_cluster_where_nothing_can_be_run_is_told_at_once() -> None:
    cluster = FakeCluster([node("a"), node("b")])
    # The other one is not waited for.
    cluster.probes = {"a": breaks(RuntimeStartError("no packages")), "b": silent(threading.Event())}
    with pytest.raises(RuntimeStartError, match="no packages"):
        bare_pool(cluster, []).classes()
    assert all(running.canceled for running in cluster.started)


# --- the end ----------------------------------------------------------------------------------------------------------


def silent(begun: threading.Event) -> Play:
    """Begins, and is never heard of again."""

    def play(task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        begun.set()
        while True:
            yield None

    return play


def interrupted(work: Callable[[], object]) -> bool:
    with pytest.raises(KeyboardInterrupt):
        work()
    return True


def test_stop_ends_what_runs_and_what_waits_for_a_node(scene: Make) -> None:
    begun = threading.Event()
    found = scene("a", "b", kinds={"b": OTHER_KIND}, play=silent(begun))
    # Of this kind there is none, for which a third one waits.
    missing = replace(KIND, cpu_count=99)
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(interrupted, found.run)
        assert begun.wait(LIMIT_S)
        waiting = [threads.submit(interrupted, found.run), threads.submit(interrupted, lambda: found.run(missing))]
        found.pool.stop()
        assert all(future.result(LIMIT_S) for future in (running, *waiting))
    assert found.cluster.places == ["a"]
    assert found.notes == []
    assert interrupted(found.run), "nothing begins any more"


def test_stop_ends_looking_at_nodes() -> None:
    begun = threading.Event()
    cluster = FakeCluster([node("a")], probes={"a": silent(begun)})
    pool = bare_pool(cluster, [])
    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(interrupted, pool.classes)
        assert begun.wait(LIMIT_S)
        pool.stop()
        assert looking.result(LIMIT_S)
    assert [running.canceled for running in cluster.started] == [True]


def test_result_that_is_no_longer_wanted_ends_its_task_alone(scene: Make) -> None:
    begun, over = threading.Event(), threading.Event()
    found = scene("a", play=in_turn(silent(begun), ends(DONE)))
    with ThreadPoolExecutor(1) as threads:
        unwanted = threads.submit(interrupted, lambda: found.run(KIND, over.is_set))
        assert begun.wait(LIMIT_S)
        over.set()
        assert unwanted.result(LIMIT_S)
    assert found.run() == (node("a"), DONE)
