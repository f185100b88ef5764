"""A story: a run that is killed at one point after another, gone on with after each, and brought to its end."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.checks import (
    Whole,
    faults_after_kill,
    faults_in_the_end,
    recorded_lines,
    state_of,
    whole_run,
)
from tests.faults.scenes import Aim, Execution, Scene, execute, forget, place_for

# A kill within a write comes up to so many calls of C functions after its beginning.
_MAX_CALLS = 40


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A run of a scene that nobody killed.

    Attributes:
        whole: What it left.
        seconds: How long each stage took.
        operations: For each stage, each kind of file operation (event and name) with how often it came.
    """

    whole: Whole
    seconds: Mapping[str, float]
    operations: Mapping[str, Mapping[tuple[str, str], int]]


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill point and what was wrong after it; a resumed run may be further on by then than its aim says."""

    aim: Aim
    stage: str
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run with its kills; `faults` are those of its end."""

    scene: str
    folder: Path
    kills: tuple[Kill, ...]
    faults: tuple[str, ...]

    @property
    def good_kills(self) -> int:
        """Kill points after which all was well, then and in the end."""
        return 0 if self.faults else sum(not kill.faults for kill in self.kills)


def undisturbed(scene: Scene, root: Path) -> Undisturbed:
    """Runs a scene to its end.

    Raises:
        AssertionError: It does not end well by itself.
    """
    place = place_for(scene, root)
    ran = execute(place, scene.arguments)
    assert ran.returncode == 0, ran.stderr
    assert not list(faults_in_the_end(place, None)), list(faults_in_the_end(place, None))
    seconds: dict[str, float] = {}
    for stage, took_s in ran.stages:
        seconds[stage] = seconds.get(stage, 0.0) + took_s
    found = Undisturbed(whole=whole_run(place), seconds=seconds, operations=_operations(ran))
    forget(place)
    return found


def _operations(ran: Execution) -> Mapping[str, Mapping[tuple[str, str], int]]:
    found: dict[str, dict[tuple[str, str], int]] = {}
    for _, line in ran.told:
        if "operation" in line:
            counts = found.setdefault(line["stage"], {})
            kind = (line["operation"], line["name"])
            counts[kind] = counts.get(kind, 0) + 1
    return found


def draw_aims(scene: Scene, seen: Undisturbed, count: int, draw: random.Random) -> list[Aim]:
    """Kill points of one story in the order of its stages: every second one at a file operation, where there is one."""
    places = sorted(draw.sample(range(len(scene.stages)), min(count, len(scene.stages))))
    return [_draw_aim(scene.stages[place], seen, draw, at_a_file=draw.random() < 0.5) for place in places]


def _draw_aim(stage: str, seen: Undisturbed, draw: random.Random, *, at_a_file: bool) -> Aim:
    operations = seen.operations.get(stage, {})
    if not (at_a_file and operations):
        return Aim(stage=stage, after_s=draw.random() * seen.seconds[stage])
    operation, name = draw.choice(sorted(operations))
    return Aim(
        stage=stage,
        operation=operation,
        name=name,
        nth=draw.randint(1, operations[operation, name]),
        calls=0 if draw.random() < 0.5 else draw.randint(1, _MAX_CALLS),
    )


def tell(scene: Scene, aims: Sequence[Aim], root: Path, whole: Whole | None = None) -> Story:
    """Kills a run as aimed, goes on with it each time, and checks it after each kill and in its end.

    An aim that is not met (what it waits for did not come any more) is no kill point.
    """
    place = place_for(scene, root)
    kills = list[Kill]()
    faults = list[str]()
    for aim in aims:
        before = recorded_lines(place)
        ran = execute(place, _arguments(scene, kills), aim)
        if not ran.was_killed:
            faults.extend(_faults_of_the_end(ran))
            break
        kills.append(Kill(aim=aim, stage=ran.stages[-1][0], faults=tuple(faults_after_kill(place, ran, before))))
    if not any(state_of(run) == "finished" for run in place.runs):
        kept = recorded_lines(place)
        faults.extend(_faults_of_the_end(execute(place, _arguments(scene, kills))))
        if recorded_lines(place)[: len(kept)] != kept:
            faults.append("a measurement was lost")
    else:
        # Killed after all was done: only the lock file that nobody holds is there.
        (place.temporary / "hcopt.lock").unlink(missing_ok=True)
    faults.extend(faults_in_the_end(place, whole))
    story = Story(scene=scene.name, folder=place.folder, kills=tuple(kills), faults=tuple(faults))
    place.end_what_is_left()
    if story.good_kills == len(kills):
        forget(place)
    return story


def _arguments(scene: Scene, kills: Sequence[Kill]) -> tuple[str, ...]:
    return (*scene.arguments, "--resume") if kills else scene.arguments


def _faults_of_the_end(ran: Execution) -> Iterator[str]:
    if ran.returncode != 0:
        said = ran.stderr.strip().splitlines()[-6:]
        yield f"ended with {ran.returncode}: {' | '.join(said)}"
